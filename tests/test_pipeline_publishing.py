"""Onto the hub and back without a network: the same model returns, with a card, and nobody's taste goes with it."""

from __future__ import annotations

import json
import shutil
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from conftest import FakeMLLM, plain
from fake_hub import FakeHub, installed
from prefgen import PrefGen
from prefgen.core import InputError, ModelError
from prefgen.core.secrets import without_secrets
from prefgen.pipeline import HubCard, Profile, export_to_diffusers, exported_folder, push_adapter_to_hub
from prefgen.pipeline.hub import unreachable
from prefgen.pipeline.hub_card import card_of, written

CARD = HubCard(
    licence="openrail++",
    training_data="Twelve pictures of one colour.",
    metrics={"gain": "0.91 [0.86, 0.96]", "subject": 0.89},
    base_models=("someone/base",),
)
TOKEN = "hf_AbCdEfGhIjKlMnOp"
NAME = "someone/their-model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return installed(tmp_path / "cache", monkeypatch)


@pytest.fixture
def lived_in(model_folder: Path, loaded_model: PrefGen, tmp_path: Path) -> Path:
    """A model's folder in which somebody has kept profiles, pictures, histories and an export."""
    folder = Path(shutil.copytree(model_folder, tmp_path / "lived-in"))
    me = loaded_model.profile(liked=[plain("red")], disliked=[plain("blue")], prompts=["a secret wish", None])
    me.save(folder / "me.prefgen")
    for name in ("people/me.safetensors", "unet/me.safetensors", "adapter/me.safetensors", "me.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "me.prefgen", folder / name)
    plain("red").save(folder / "mllm" / "liked.png")
    for name in ("history.jsonl", "unet/history.json", "notes.txt", "mllm/notes.txt", ".env", "token"):
        (folder / name).write_text('"a secret wish"')
    return folder


def opened(folder: Path | str, **hub: Any) -> PrefGen:
    model = PrefGen.from_pretrained(folder, device="cpu", mllm=FakeMLLM(), **hub)
    model.pipe.set_progress_bar_config(disable=True)
    return model


def test_a_model_goes_and_comes_back_the_same(hub: FakeHub, model_folder: Path) -> None:
    ours = opened(model_folder)
    told = ours.push_to_hub(NAME, card=CARD, token=TOKEN)
    assert told.startswith(f"https://huggingface.co/{NAME}/commit/")
    assert hub.private == {NAME: True}
    assert hub.tokens == [TOKEN]
    theirs = opened(NAME)
    assert theirs.sha256 == ours.sha256
    me = ours.profile(liked=[plain("red")], disliked=[plain("blue")])
    pictures = [np.asarray(model("a fox", me, seed=3).images[0]) for model in (ours, theirs)]
    np.testing.assert_array_equal(*pictures)
    assert np.abs(pictures[0].astype(int) - np.asarray(ours("a fox", seed=3).images[0])).max() > 0
    card = hub.files(NAME)["README.md"].decode()
    head = card.split("---")[1]
    for line in ("license: openrail++", "library_name: prefgen", "pipeline_tag: text-to-image", "- someone/base"):
        assert line in head
    for words in (
        "Twelve pictures",
        "| gain | 0.91 [0.86, 0.96] |",
        "| subject | 0.89 |",
        f'from_pretrained("{NAME}")',
    ):
        assert words in card
    assert "{{" not in card
    assert theirs.folder is not None
    with pytest.raises(InputError, match="new or empty folder"):
        theirs.save_pretrained(theirs.folder)


def test_nobodys_taste_goes_with_it(hub: FakeHub, lived_in: Path, model_folder: Path, tmp_path: Path) -> None:
    ours = opened(lived_in)
    ours.push_to_hub(NAME, card=CARD, private=False)
    ours.save_pretrained(tmp_path / "copy")
    own = {p.relative_to(model_folder).as_posix() for p in model_folder.rglob("*") if p.is_file()}
    sent = hub.files(NAME)
    assert (
        set(sent) - {"README.md"}
        == own
        == {p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*") if p.is_file()}
    )
    assert hub.private == {NAME: False}
    for name, data in sent.items():
        assert b"a secret wish" not in data, name
        assert b"prefgen.profile" not in data, name
        assert str(tmp_path).encode() not in data, name


def test_a_profile_under_a_parts_name_is_refused(hub: FakeHub, lived_in: Path) -> None:
    ours = opened(lived_in)
    shutil.copy(lived_in / "me.prefgen", lived_in / "unet" / "model.extra.safetensors")
    with pytest.raises(ModelError, match=r"unet/model\.extra\.safetensors is a profile"):
        ours.push_to_hub(NAME, card=CARD)
    assert not hub.home(NAME).exists()


def test_paths_of_this_machine_stay_here(hub: FakeHub, model_folder: Path, tmp_path: Path, caplog) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    for name, path in (("unet/config.json", "/home/anna/models/unet"), ("vae/config.json", "C:\\anna\\vae")):
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(config | {"_name_or_path": path}))
    opened(folder).push_to_hub(NAME, card=CARD)
    assert not [name for name, data in hub.files(NAME).items() if b"anna" in data]
    assert "left out of unet/config.json" in caplog.text
    opened(NAME)


def test_a_card_needs_a_licence_and_a_word_on_the_data(hub: FakeHub, loaded_model: PrefGen) -> None:
    with pytest.raises(InputError, match="licence and training_data") as found:
        loaded_model.push_to_hub(NAME)
    assert "HubCard(licence=" in str(found.value.hint)
    with pytest.raises(InputError, match="says training_data, got"):
        loaded_model.push_to_hub(NAME, card=HubCard(licence="mit"))
    own = card_of("embedded", None)
    assert own.licence == "apache-2.0"
    assert "procedural painter" in own.training_data
    assert "None were given" in written(own, NAME, "their-model")
    with pytest.raises(InputError):
        card_of("embedded", HubCard(base_models=("someone/base",)))
    with pytest.raises(InputError, match="hub name such as"):
        loaded_model.push_to_hub("their-model", card=CARD)
    assert not hub.private


def test_a_model_of_parts_has_no_files_to_publish(model: PrefGen, tmp_path: Path) -> None:
    for call in (lambda: model.push_to_hub(NAME, card=CARD), lambda: model.save_pretrained(tmp_path / "x")):
        with pytest.raises(ModelError, match="made from parts"):
            call()


def test_tokens_are_never_told(hub: FakeHub, loaded_model: PrefGen, monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in (TOKEN, "a-token-of-another-form"):
        hub.error = RuntimeError(f"401 for Bearer {secret} at https://anna:{secret}@hub/x\nmore {secret}")
        with pytest.raises(ModelError, match="could not be pushed: 401") as found:
            loaded_model.push_to_hub(NAME, card=CARD, token=secret)
        assert secret not in "".join(traceback.format_exception(found.value))
        assert "hf auth login" in str(found.value.hint)
    import huggingface_hub

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(f"403 for {TOKEN} and a-token-of-another-form")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match="could not be downloaded: 403") as found:
        PrefGen.from_pretrained("someone/other", token="a-token-of-another-form")
    told = "".join(traceback.format_exception(found.value))
    assert TOKEN not in told
    assert "of-another-form" not in told.replace('token="a-token-of-another-form"', "")
    assert without_secrets("plain words, hf auth") == "plain words, hf auth"


def test_a_name_without_a_network_is_one_line_with_a_hint(hub: FakeHub, loaded_model: PrefGen) -> None:
    loaded_model.push_to_hub(NAME, card=CARD)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids") as found:
        opened("someone/thier-model")
    assert "\n" not in found.value.message
    assert f"did you mean '{NAME}'?" in str(found.value.hint)
    with pytest.raises(ModelError) as found:
        opened("nobody/quite-different")
    assert "check the name" in str(found.value.hint)
    assert "without a network give a folder" in str(found.value.hint)
    with pytest.raises(ModelError, match="no model 'embeded'") as found:
        opened("embeded")
    assert found.value.hint == "did you mean 'embedded'?"


def test_only_what_lies_here_when_that_is_asked_for(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    told = unreachable("model", NAME, OSError("long"), "hint", local_only=True)
    assert "`local_files_only` forbids" in told.message


@pytest.mark.parametrize("how", ["a file", "its content", "half of it"])
def test_a_half_downloaded_model_names_what_is_missing(hub: FakeHub, loaded_model: PrefGen, how: str) -> None:
    loaded_model.push_to_hub(NAME, card=CARD)
    link = hub.snapshot(NAME) / "unet" / "diffusion_pytorch_model.safetensors"
    blob = link.resolve()
    if how == "a file":
        link.unlink()
    elif how == "its content":
        blob.unlink()
    else:
        blob.write_bytes(blob.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"unet/\*?\w*\.safetensors") as found:
        opened(NAME)
    assert "again" in str(found.value.hint)


def test_a_cut_off_snapshot_that_the_client_knows_of_is_named_too(hub: FakeHub, loaded_model, monkeypatch) -> None:
    import huggingface_hub

    loaded_model.push_to_hub(NAME, card=CARD)
    (hub.snapshot(NAME) / "adapter" / "like.safetensors").unlink()
    (hub.snapshot(NAME) / "prefgen.json").unlink()

    def fails(*_: Any, **__: Any) -> None:
        error = FileNotFoundError("incomplete")
        error.snapshot_path = str(hub.snapshot(NAME))  # pyright: ignore[reportAttributeAccessIssue]
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(ModelError, match=r"missing prefgen\.json"):
        opened(NAME)


ADAPTERS = "someone/their-adapter"


def test_adapters_go_without_people_and_stock_paints_with_them(
    hub: FakeHub, loaded_model: PrefGen, tmp_path: Path
) -> None:
    """Laid out for nobody: the files are the same whoever was looked at, and paint nearly what fitted ones do."""
    from tiny_diffusion import tiny_pipeline

    me = loaded_model.profile(liked=[plain("red")], disliked=[plain("blue")])
    push_adapter_to_hub(loaded_model, ADAPTERS, card=replace(CARD, summary="Adapters."), token=TOKEN)
    sent = hub.files(ADAPTERS)
    assert set(sent) == {"README.md", "export.json", "like.safetensors", "dislike.safetensors", "several_people.py"}
    assert "license: openrail++" in sent["README.md"].decode()
    assert "{{" not in sent["README.md"].decode()
    loaded_model.profile(liked=[plain("green")])
    push_adapter_to_hub(loaded_model, "someone/again", card=CARD)
    assert hub.files("someone/again")["like.safetensors"] == sent["like.safetensors"]
    made = export_to_diffusers(loaded_model, {"me": me}, tmp_path / "mine", adapters=ADAPTERS)
    assert (tmp_path / "mine" / "like.safetensors").read_bytes() == sent["like.safetensors"]
    assert max(made.lost.values()) < 0.5
    pipe, person = tiny_pipeline(), load_file(tmp_path / "mine" / "people" / "me.safetensors")
    settings = {"guidance_scale": 2.0, "num_inference_steps": 2, "output_type": "np"}

    def painted(**more: Any) -> np.ndarray:
        import torch

        return pipe("a fox", generator=torch.Generator().manual_seed(7), **settings, **more).images[0]

    alone = painted()
    names = ["like.safetensors", "dislike.safetensors"]
    pipe.load_ip_adapter(
        [ADAPTERS] * 2, subfolder="", weight_name=names, image_encoder_folder=None, cache_dir=hub.cache
    )
    theirs = painted(ip_adapter_image_embeds=[person["like"], person["dislike"]])
    ours = loaded_model("a fox", me, seed=7, variety=0.0, output_type="np").images[0]
    plain_one = loaded_model("a fox", seed=7, output_type="np").images[0]
    np.testing.assert_allclose(alone, plain_one, atol=1e-5)
    assert np.abs(theirs - ours).mean() < 0.5 * np.abs(plain_one - ours).mean()


def test_an_export_of_people_would_tell_of_them(hub: FakeHub, loaded_model: PrefGen, tmp_path: Path) -> None:
    """Why published adapters are laid out anew: a fitted file ends in the directions of the one person's tokens, one
    for nobody does not."""
    me = loaded_model.profile(liked=[plain("red")], disliked=[plain("grey")])
    export_to_diffusers(loaded_model, {"me": me}, tmp_path)
    push_adapter_to_hub(loaded_model, ADAPTERS, card=CARD)
    tokens = loaded_model.embed(me).row(0).like
    assert tokens is not None

    def told(folder: Path) -> float:
        """The share of the tokens that lies in as many directions as there are tokens."""
        said = (load_file(folder / "like.safetensors")["prefgen.read"] @ tokens.flatten(0, 1).T).square()
        return float(said[-tokens.shape[1] :].sum() / said.sum())

    assert told(tmp_path) > 0.999
    assert told(hub.snapshot(ADAPTERS)) < 0.95


def test_adapters_that_are_not_there_or_not_whole_are_told(hub: FakeHub, loaded_model, me: Profile, tmp_path) -> None:
    push_adapter_to_hub(loaded_model, ADAPTERS, card=CARD)
    assert exported_folder(ADAPTERS) == hub.snapshot(ADAPTERS)
    with pytest.raises(ModelError, match="the adapter 'someone/their-adaptor' is not on this machine") as found:
        exported_folder("someone/their-adaptor")
    assert f"did you mean '{ADAPTERS}'" in str(found.value.hint)
    with pytest.raises(ModelError, match="no adapters"):
        exported_folder(str(tmp_path / "gone"))
    (hub.snapshot(ADAPTERS) / "dislike.safetensors").unlink()
    with pytest.raises(ModelError, match=r"missing dislike\.safetensors"):
        export_to_diffusers(loaded_model, {"me": me}, tmp_path / "x", adapters=ADAPTERS)
