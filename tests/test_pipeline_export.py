"""Export: stock diffusers without this package paints the same pictures; what cannot leave is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import plain
from prefgen.adapter import (
    StockLayout,
    UserAdapter,
    UserTokens,
    all_weights,
    layout_of,
    network_of,
    stock_form,
    stock_state,
)
from prefgen.core import InputError, ModelError, ProfileError
from prefgen.diffusion import sample
from prefgen.pipeline import Profile, export_to_diffusers
from prefgen.pipeline.several_people import SeveralPeople
from tiny_backbones import silent_pipeline
from tiny_diffusion import generators, random_tokens, tiny_pipeline, tiny_sdxl_pipeline, trained_adapter

PIPELINES = {"sd": tiny_pipeline, "sdxl": tiny_sdxl_pipeline, "flux": partial(silent_pipeline, "flux")}
STRENGTHS = {"like_strength": 0.8, "dislike_strength": 0.4}


def written(pipe: Any, adapter: UserAdapter, tokens: UserTokens, folder: Path) -> list[torch.Tensor]:
    """Both adapters' files in `folder`, and the embeddings of all rows as one call wants them."""
    from safetensors.torch import save_file

    embeds, form = [], stock_form(network_of(pipe))
    for group in ("like", "dislike"):
        rows = tokens.group(group)
        assert rows is not None
        layout = StockLayout.fitted(all_weights(adapter, group), rows.flatten(0, 1))
        save_file(stock_state(adapter, group, layout, form), folder / f"{group}.safetensors")
        said, nobody = (form.embeds(layout.points(x)) for x in (rows, torch.zeros_like(rows)))
        embeds.append(torch.cat([nobody, said] if group == "like" else [said, nobody]))
    return embeds


def with_adapters(pipe, folder: Path):
    names, flux = ["like.safetensors", "dislike.safetensors"], hasattr(pipe, "transformer")
    encoder = {"image_encoder_pretrained_model_name_or_path" if flux else "image_encoder_folder": None}
    pipe.load_ip_adapter([str(folder)] * 2, subfolder="", weight_name=names, **encoder)
    pipe.set_ip_adapter_scale([STRENGTHS["like_strength"], STRENGTHS["dislike_strength"]])
    return pipe


def told(kind: str, embeds: list[torch.Tensor], places: list[int], n: int, *, guided: bool) -> dict[str, Any]:
    """What a stock pipeline is handed for the people at `places` among `n`: FLUX takes the two halves apart."""
    against, said = ([e[[first + k for k in places]] for e in embeds] for first in (0, n))
    if kind == "flux":
        return {"ip_adapter_image_embeds": said, "negative_ip_adapter_image_embeds": against}
    both = [torch.cat(pair) for pair in zip(against, said)]
    return {"ip_adapter_image_embeds": both if guided else said}


def settings_of(kind: str, guidance_scale: float, n: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"num_inference_steps": 3, "output_type": "np"}
    if kind != "flux":
        return settings | {"guidance_scale": guidance_scale}
    size = {"height": 16, "width": 16, "max_sequence_length": 12, "guidance_scale": 3.5}
    return settings | size | {"true_cfg_scale": guidance_scale, "negative_prompt": [""] * n}


@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_stock_paints_what_we_paint_one_person_a_call_and_the_mixin_several(
    kind: str, guidance_scale: float, tmp_path: Path
) -> None:
    pipe, n = PIPELINES[kind](), 3
    adapter = trained_adapter(network_of(pipe))
    tokens, prompts = random_tokens(n, 1, adapter.d_cross), ["a fox", "a cat", "a boat"]
    settings, one = settings_of(kind, guidance_scale, n), settings_of(kind, guidance_scale, 1)
    ours = sample(pipe, adapter, prompts, tokens, generators=generators(n), **STRENGTHS, **settings)
    alone = sample(pipe, None, prompts, None, generators=generators(n), **settings)
    embeds, guided = written(pipe, adapter, tokens, tmp_path), guidance_scale > 1
    stock = with_adapters(PIPELINES[kind](), tmp_path)
    for k in range(n):
        said = told(kind, embeds, [k], n, guided=guided)
        theirs = stock([prompts[k]], generator=generators(n)[k], **said, **one).images[0]
        np.testing.assert_allclose(theirs, ours[k], atol=2e-4)
        assert np.abs(theirs - alone[k]).max() > 0.01
    everyone = told(kind, embeds, [*range(n)], n, guided=guided)
    mixed = stock(prompts, generator=generators(n), **everyone, **settings).images
    assert np.abs(mixed - ours).max() > 0.01, "stock mixes people: if it no longer does, the mixin can go"
    apart = type("Apart", (SeveralPeople, type(stock)), {}).from_pipe(stock)
    apart.set_progress_bar_config(disable=True)
    told_apart = apart(prompts, generator=generators(n), **everyone, **settings).images
    np.testing.assert_allclose(told_apart, ours, atol=2e-4)
    twice = apart(
        prompts,
        generator=[g for k in range(n) for g in (generators(n)[k], torch.Generator().manual_seed(50 + k))],
        num_images_per_prompt=2,
        **everyone,
        **settings,
    ).images
    np.testing.assert_allclose(twice[::2], ours, atol=2e-4)


def test_stock_saving_drops_the_adapters_and_the_readme_says_so(loaded_models, tmp_path: Path) -> None:
    """If stock diffusers keeps them one day, the warning can go."""
    pipe = tiny_pipeline()
    adapter, tokens = trained_adapter(pipe.unet), random_tokens(1, 2)
    written(pipe, adapter, tokens, tmp_path)
    stock = with_adapters(tiny_pipeline(), tmp_path)
    assert any("IPAdapter" in type(p).__name__ for p in stock.unet.attn_processors.values())
    stock.save_pretrained(tmp_path / "saved")
    again = type(stock).from_pretrained(tmp_path / "saved")
    assert not any("IPAdapter" in type(p).__name__ for p in again.unet.attn_processors.values())
    model = loaded_models("embedded")
    export_to_diffusers(model, {"anna": model.profile(liked=[plain("red")])}, tmp_path / "out")
    assert "`pipe.save_pretrained` leaves adapters out" in (tmp_path / "out" / "README.md").read_text()


def test_the_strength_of_dislikes_survives(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    adapter = trained_adapter(pipe.unet)
    tokens = random_tokens(1, 2)
    embeds = written(pipe, adapter, tokens, tmp_path)
    stock = with_adapters(tiny_pipeline(), tmp_path)
    for dislike in (0.0, 0.9):
        settings = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "np"}
        ours = sample(pipe, adapter, ["a fox"], tokens, generators=generators(1), dislike_strength=dislike, **settings)
        stock.set_ip_adapter_scale([1.0, dislike])
        theirs = stock("a fox", generator=generators(1)[0], ip_adapter_image_embeds=embeds, **settings).images
        np.testing.assert_allclose(theirs, ours, atol=2e-4)


def test_a_layout_keeps_known_tokens_and_most_of_others_and_nobody_says_nothing() -> None:
    adapter = trained_adapter(tiny_pipeline().unet)
    weights, d = all_weights(adapter, "like"), adapter.d_cross
    draw = torch.Generator().manual_seed(0)
    known, others = (torch.randn(n, d, generator=draw) for n in (d - 2, 200))
    layout = StockLayout.fitted(weights, known)
    assert layout.lost(weights, known) < 1e-5
    assert 0.01 < layout.lost(weights, others) < 0.5
    many = StockLayout.fitted(weights, others)
    assert many.lost(weights, others) < layout.lost(weights, others)
    state = stock_state(adapter, "like", layout, stock_form(tiny_pipeline().unet))
    again = layout_of(state)
    torch.testing.assert_close(again.points(known[None]), layout.points(known[None]), atol=1e-4, rtol=1e-4)
    nobody = layout.points(torch.zeros(1, 1, d))[0, 0]
    assert float((state["ip_adapter.1.to_v_ip.weight"] @ nobody).abs().max()) < 1e-4
    assert float(nobody.mean().abs()) < 1e-6
    assert float(nobody.var(unbiased=False)) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="too long"):
        layout.points(100 * known[None])
    with pytest.raises(ModelError, match="trained"):
        StockLayout.fitted(torch.zeros(6, d), known)
    with pytest.raises(ModelError, match="layout"):
        layout_of({})


WITHOUT_PREFGEN = """
import sys
class Nobody:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "prefgen":
            raise ImportError("prefgen is not installed here")
sys.meta_path.insert(0, Nobody())
try:
    import prefgen
except ImportError:
    pass
else:
    raise SystemExit("prefgen could be imported")
"""


@pytest.mark.parametrize("family", ["embedded", "sdxl", "flux"])
def test_the_readme_paints_without_this_package(family: str, loaded_models, tmp_path: Path) -> None:
    model = loaded_models(family)
    me = model.profile(liked=[plain("red"), plain("darkred")], disliked=[plain("blue")])
    made = export_to_diffusers(model, {"anna": me}, tmp_path / "out", with_pipeline=True)
    assert set(made.files) <= {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}
    assert max(made.lost.values()) < 1e-5
    told = (tmp_path / "out" / "README.md").read_text()
    assert "{{" not in told
    (code,) = re.findall(r"```python\n(.*?)```", told, re.DOTALL)
    if family == "flux":
        code = code.replace("names = [", "pipe.default_sample_size = 8\nnames = [")
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_PREFGEN + code],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    theirs = np.asarray(Image.open(tmp_path / "out" / "picture.png")).astype(int)
    ours = np.asarray(model("a fox by a lake", me, seed=7, variety=0.0).images[0]).astype(int)
    assert np.abs(theirs - ours).max() <= 2
    assert np.abs(np.asarray(model("a fox by a lake", seed=7).images[0]).astype(int) - ours).max() > 2


def test_people_are_added_to_an_export_and_another_models_is_left_alone(model, me: Profile, tmp_path: Path) -> None:
    export_to_diffusers(model, {"anna": me}, tmp_path)
    before = (tmp_path / "like.safetensors").read_bytes()
    ben = model.profile(liked=[plain("red")], disliked=[plain("navy")])
    export_to_diffusers(model, {"ben": ben}, tmp_path)
    assert (tmp_path / "like.safetensors").read_bytes() == before
    assert {p.stem for p in (tmp_path / "people").iterdir()} == {"anna", "ben"}
    assert (tmp_path / "people" / "ben.safetensors").stat().st_mode & 0o077 == 0
    person = load_file(tmp_path / "people" / "ben.safetensors")
    n, d = model.user_encoder.config.n_tokens, model.adapter.d_cross
    assert person["like"].shape == person["dislike"].shape == (2, 1, n, 2 * d)
    described = json.loads((tmp_path / "export.json").read_text())
    (tmp_path / "export.json").write_text(json.dumps(described | {"model": "0" * 64}))
    with pytest.raises(ModelError, match="another model"):
        export_to_diffusers(model, {"ben": ben}, tmp_path)


def test_mistakes_are_told(model, me: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="at least one"):
        export_to_diffusers(model, {}, tmp_path)
    for name in ("../anna", "", ".hidden", "a/b"):
        with pytest.raises(InputError, match="name of letters"):
            export_to_diffusers(model, {name: me}, tmp_path)
    stranger = Profile(model_sha256="0" * 64, history=me.history)
    with pytest.raises(ProfileError):
        export_to_diffusers(model, {"anna": stranger}, tmp_path)
    monkeypatch.setattr(model, "pipe", object())
    with pytest.raises(ModelError, match="unet or a transformer"):
        export_to_diffusers(model, {"anna": me}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_verb_writes_a_folder(cli, pictures: Path, tmp_path: Path) -> None:
    assert (
        cli(
            "profile", "build", "--liked", pictures / "likes", "--out", tmp_path / "anna.prefgen", "--model", "{model}"
        )[0]
        == 0
    )
    status, out, _ = cli("export", tmp_path / "anna.prefgen", "--out", tmp_path / "x", "--model", "{model}", "--json")
    assert status == 0
    assert json.loads(out)["people"] == ["anna"]
    status, _, told = cli("export", tmp_path / "anna.prefgen", "--to", "difusers", "--out", tmp_path / "y")
    assert status == 2
    assert "diffusers" in told


def test_stable_diffusion_3_is_refused_in_one_line(loaded_models, model_folders, mllm, tmp_path: Path, cli) -> None:
    model = loaded_models("sd3")
    model.profile(liked=[plain("red")]).save(tmp_path / "anna.prefgen")
    told = ("export", tmp_path / "anna.prefgen", "--out", tmp_path / "x", "--model", model_folders("sd3"))
    status, out, err = cli(*told)
    assert (status, out) == (2, "")
    assert "or FluxTransformer2DModel" in err
    assert "got SD3Transformer2DModel" in err
    assert "hint: paint with prefgen itself" in err
    assert not (tmp_path / "x").exists()
    page = (Path(__file__).parents[1] / "docs" / "backbones.md").read_text()
    assert "## Export" in page
