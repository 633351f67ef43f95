"""Export: stock diffusers without this package paints the same pictures; what cannot leave is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import plain
from prefgen.adapter import StockLayout, UserAdapter, UserTokens, all_weights, layout_of, stock_state
from prefgen.core import InputError, ModelError, ProfileError
from prefgen.diffusion import sample
from prefgen.pipeline import Profile, export_to_diffusers
from prefgen.pipeline.several_people import SeveralPeople
from tiny_diffusion import generators, random_tokens, tiny_pipeline, tiny_sdxl_pipeline, trained_adapter

PIPELINES = {"sd": tiny_pipeline, "sdxl": tiny_sdxl_pipeline}
STRENGTHS = {"like_strength": 0.8, "dislike_strength": 0.4}


def written(adapter: UserAdapter, tokens: UserTokens, folder: Path) -> list[torch.Tensor]:
    """Both adapters' files in `folder`, and the embeddings of all rows as one call wants them."""
    from safetensors.torch import save_file

    embeds = []
    for group in ("like", "dislike"):
        rows = tokens.group(group)
        assert rows is not None
        layout = StockLayout.fitted(all_weights(adapter, group), rows.flatten(0, 1))
        save_file(stock_state(adapter, group, layout), folder / f"{group}.safetensors")
        said, nobody = layout.embeds(rows)[:, None], layout.embeds(torch.zeros_like(rows))[:, None]
        embeds.append(torch.cat([nobody, said] if group == "like" else [said, nobody]))
    return embeds


def with_adapters(pipe, folder: Path):
    pipe.load_ip_adapter(
        [str(folder)] * 2,
        subfolder="",
        weight_name=["like.safetensors", "dislike.safetensors"],
        image_encoder_folder=None,
    )
    pipe.set_ip_adapter_scale([STRENGTHS["like_strength"], STRENGTHS["dislike_strength"]])
    return pipe


def rows_of(embeds: list[torch.Tensor], k: int, n: int, *, guided: bool) -> list[torch.Tensor]:
    return [e[[k, n + k]] if guided else e[[n + k]] for e in embeds]


@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_stock_paints_what_we_paint_one_person_a_call_and_the_mixin_several(
    kind: str, guidance_scale: float, tmp_path: Path
) -> None:
    pipe, n = PIPELINES[kind](), 3
    adapter = trained_adapter(pipe.unet)
    tokens, prompts = random_tokens(n, 1, adapter.d_cross), ["a fox", "a cat", "a boat"]
    settings = {"num_inference_steps": 3, "guidance_scale": guidance_scale, "output_type": "np"}
    ours = sample(pipe, adapter, prompts, tokens, generators=generators(n), **STRENGTHS, **settings)
    alone = sample(pipe, None, prompts, None, generators=generators(n), **settings)
    embeds, guided = written(adapter, tokens, tmp_path), guidance_scale > 1
    stock = with_adapters(PIPELINES[kind](), tmp_path)
    for k in range(n):
        theirs = stock(
            prompts[k],
            generator=generators(n)[k],
            ip_adapter_image_embeds=rows_of(embeds, k, n, guided=guided),
            **settings,
        ).images[0]
        np.testing.assert_allclose(theirs, ours[k], atol=2e-4)
        assert np.abs(theirs - alone[k]).max() > 0.01
    everyone = [e if guided else e[n:] for e in embeds]
    mixed = stock(prompts, generator=generators(n), ip_adapter_image_embeds=everyone, **settings).images
    assert np.abs(mixed - ours).max() > 0.01, "stock mixes people: if it no longer does, the mixin can go"
    apart = type("Apart", (SeveralPeople, type(stock)), {}).from_pipe(stock)
    apart.set_progress_bar_config(disable=True)
    told = apart(prompts, generator=generators(n), ip_adapter_image_embeds=everyone, **settings).images
    np.testing.assert_allclose(told, ours, atol=2e-4)
    twice = apart(
        prompts,
        generator=[g for k in range(n) for g in (generators(n)[k], torch.Generator().manual_seed(50 + k))],
        num_images_per_prompt=2,
        ip_adapter_image_embeds=everyone,
        **settings,
    ).images
    np.testing.assert_allclose(twice[::2], ours, atol=2e-4)


def test_the_strength_of_dislikes_survives(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    adapter = trained_adapter(pipe.unet)
    tokens = random_tokens(1, 2)
    embeds = written(adapter, tokens, tmp_path)
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
    state = stock_state(adapter, "like", layout)
    again = layout_of(state)
    torch.testing.assert_close(again.embeds(known[None]), layout.embeds(known[None]), atol=1e-4, rtol=1e-4)
    nobody = layout.embeds(torch.zeros(1, 1, d))[0, 0, :d]
    assert float((state["ip_adapter.1.to_v_ip.weight"] @ nobody).abs().max()) < 1e-4
    assert float(nobody.mean().abs()) < 1e-6
    assert float(nobody.var(unbiased=False)) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="too long"):
        layout.embeds(100 * known[None])
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


def test_the_readme_paints_without_this_package(model, me: Profile, tmp_path: Path) -> None:
    made = export_to_diffusers(model, {"anna": me}, tmp_path / "out", with_pipeline=True)
    assert set(made.files) <= {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}
    assert max(made.lost.values()) < 1e-5
    told = (tmp_path / "out" / "README.md").read_text()
    assert "{{" not in told
    (code,) = re.findall(r"```python\n(.*?)```", told, re.DOTALL)
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
    with pytest.raises(ModelError, match="UNet"):
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
