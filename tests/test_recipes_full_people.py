"""Published weights and a folder of people in, a personal model out: the whole chain on tiny models."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import plain
from prefgen import PrefGen
from prefgen.core import ConfigError, DataError, ModelError
from prefgen.mllm import PreferenceMLLM
from prefgen.pipeline.loading import load_image_encoder
from prefgen.pipeline.publishing import copy_model
from prefgen.recipes.full_people.layers import LEAST_PROBED, dealt, unprobed
from prefgen.recipes.full_people.parts import copy_of, parts_of, stamp
from prefgen.recipes.full_people.preferences import keys_in, with_pictures
from prefgen.recipes.full_people.run import train_full_on_people
from prefgen.recipes.full_people.strings import strings_of
from prefgen.recipes.full_presets import FULL_PRESETS, FullPreset
from prefgen.recipes.loop import Deadline
from prefgen.recipes.own_data.conversations import examined, own_conversation
from prefgen.recipes.own_data.report import REPORT
from raw_choices import bytes_under
from tiny_own_data import people_folder, some_person
from tiny_published import SIDE_PX, published_preset

SHORT: dict[str, Any] = {"height": SIDE_PX, "width": SIDE_PX, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    people_folder(folder / "people", 14, splits=("train", "train", "validation", "test"))
    return folder


def trained(home: Path, name: str, **changes: object) -> tuple[dict[str, Any], Path]:
    out = home / f"model-{name}-{len(os.listdir(home))}"
    preset = published_preset(home, name, **changes)
    report = train_full_on_people(home / "people", preset, work=home / f"work-{out.name}", out=out)
    assert report is not None
    return report, out


@pytest.fixture(scope="module")
def sd15(home: Path) -> tuple[dict[str, Any], Path]:
    return trained(home, "sd15-idefics2", strings_by_model=True)


def paints(model: PrefGen, family: str) -> None:
    """The person is heard, and remembered."""
    model.pipe.set_progress_bar_config(disable=True)
    me = model.profile(liked=[plain("red"), plain("darkred")], disliked=[plain("blue")])
    longest: dict[str, Any] = {"max_sequence_length": 12} if family in ("sd3", "flux") else {}
    heard, alone = (
        np.asarray(model("a fox", who, seed=3, like_strength=4.0, **SHORT, **longest).images[0]).astype(int)
        for who in (me, None)
    )
    assert np.abs(heard - alone).max() > 0
    assert all(0 <= p <= 1 for p in model.score(me, [plain("red"), plain("blue")]))
    model.explain(me)


def test_the_chain_ends_in_a_model_that_paints_for_a_person(sd15: tuple[dict[str, Any], Path], home: Path) -> None:
    report, out = sd15
    assert json.loads((out / REPORT).read_text()) == report
    assert report["people"]["train"]["painted_for"] == 8
    for split in ("validation", "test"):
        assert set(report["figures"][split]) == {"which_of_two", "yes_no", "flow_loss"}
        assert report["retrieval_of_own_string"][split]["n_users"] == 3
    assert report["layers"]["reason"].startswith("not probed: 0 validation people") is False
    model = PrefGen.from_pretrained(out, device="cpu")
    assert model.user_encoder.config.sem_layers == tuple(report["layers"]["e_sem"])
    paints(model, "sd15")
    for part in ("unet", "vae", "text_encoder", "image_encoder"):
        for path in (out / part).glob("*.safetensors"):
            assert not path.is_symlink()
    published, ours = home / "sd15" / "unet", out / "unet"
    name = "diffusion_pytorch_model.safetensors"
    assert (published / name).read_bytes() == (ours / name).read_bytes()
    assert os.stat(published / name).st_ino == os.stat(ours / name).st_ino, "a copy where a link would do"


def test_what_the_language_model_learned_is_a_lora_in_pefts_format(
    sd15: tuple[dict[str, Any], Path], home: Path
) -> None:
    from peft import PeftModel

    _, out = sd15
    lora = out / "mllm" / "lora"
    assert {p.name for p in lora.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    moved = [v for name, v in load_file(lora / "adapter_model.safetensors").items() if "lora_B" in name]
    assert any(bool(value.abs().sum()) for value in moved)
    bare = PreferenceMLLM.from_pretrained(out / "mllm").model
    PeftModel.from_pretrained(bare, str(lora))
    temperature = json.loads((out / "mllm" / "calibration.json").read_text())["temperature"]
    assert temperature > 0
    assert not (home / "idefics2" / "calibration.json").exists()


def test_nobodys_pictures_prompts_or_names_are_in_the_model_or_what_is_published_of_it(
    sd15: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    _, out = sd15
    sent = copy_model(out, tmp_path / "sent")
    assert "mllm/lora/adapter_model.safetensors" in sent
    for files in (bytes_under(out), bytes_under(tmp_path / "sent")):
        for name, data in files.items():
            assert b"user 1" not in data, name
            assert b"prompt 1" not in data, name
            assert str(out.parent).encode() not in data or name == REPORT, name
    assert PrefGen.from_pretrained(tmp_path / "sent", device="cpu").user_encoder.config.n_tokens == 2


@pytest.mark.slow
def test_a_training_that_was_stopped_ends_in_the_same_bytes(home: Path, sd15: tuple[dict[str, Any], Path]) -> None:
    _, unbroken = sd15
    preset = published_preset(home, "sd15-idefics2", strings_by_model=True)
    work, out = home / "work-stopped", home / "model-stopped"
    n_stops = 0
    while train_full_on_people(home / "people", preset, work=work, out=out, max_minutes=0) is None:
        n_stops += 1
        assert n_stops < 60
    assert n_stops > 5
    theirs, ours = bytes_under(unbroken), bytes_under(out)
    assert set(theirs) == set(ours)
    assert [name for name in theirs if theirs[name] != ours[name]] == []
    again = train_full_on_people(home / "people", preset, work=work, out=out)
    assert again == json.loads((out / REPORT).read_text())
    with pytest.raises(ConfigError, match="holds something else"):
        train_full_on_people(home / "people", replace(preset, adapter_samples=16), work=work, out=out)
    with pytest.raises(ConfigError, match="other people, another start or other settings"):
        train_full_on_people(home / "people", replace(preset, adapter_samples=16), work=work, out=home / "other")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sdxl-smolvlm", "sd3-idefics2", "flux-smolvlm"])
def test_every_backbone_and_language_model_goes_the_same_way(name: str, home: Path) -> None:
    report, out = trained(home, name)
    assert report["figures"]["validation"]["flow_loss"]["after"]["n"] == 3
    paints(PrefGen.from_pretrained(out, device="cpu"), name.split("-")[0])


@pytest.mark.slow
def test_it_learns_what_people_like_and_to_paint_for_them(tmp_path: Path) -> None:
    """Half of the people like reds, the others blues: what nobody told of people it never met."""
    folder = people_folder(tmp_path / "people", 30)
    lengths = {"preference_samples": 1500, "mllm_batch": 6, "choose_every": 500, "adapter_samples": 240}
    rates = {
        "asked_pairs": 4,
        "preference_rate": 5e-3,
        "adapter_rate": 3e-3,
        "adapter_batch": 8,
        "evaluated_people": 10,
    }
    preset = published_preset(tmp_path, "sd15-idefics2", **lengths, **rates)
    report = train_full_on_people(folder, preset, work=tmp_path / "work", out=tmp_path / "model")
    assert report is not None
    figures = report["figures"]["validation"]
    assert figures["which_of_two"]["before"]["value"] < 0.7
    assert figures["which_of_two"]["after"]["value"] > 0.8
    assert figures["flow_loss"]["verdict"] == "better"
    assert "best inter-user top-1 among 10 users" in report["layers"]["reason"]


@pytest.mark.slow
def test_leaving_the_language_model_as_it_is(home: Path) -> None:
    report, out = trained(home, "sd15-idefics2", preference_samples=0)
    assert not (out / "mllm" / "lora").exists()
    told = report["figures"]["validation"]["which_of_two"]
    assert told["before"] == told["after"]
    paints(PrefGen.from_pretrained(out, device="cpu"), "sd15")


def test_weights_that_are_not_here_are_named(home: Path, tmp_path: Path) -> None:
    preset = published_preset(home, "sd15-idefics2")
    for changes, name in (
        ({"generator": ""}, "stable-diffusion-v1-5"),
        ({"language_model": "someone/model"}, "someone/model"),
        ({"image_encoder": "openai/clip-vit-large-patch14"}, "openai/clip-vit-large-patch14"),
    ):
        with pytest.raises(ModelError, match=name) as found:
            parts_of(replace(preset, **changes), tmp_path)
        assert "hf download" in str(found.value.hint)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="picture encoder"):
        parts_of(replace(preset, image_encoder=str(tmp_path / "empty")), tmp_path)
    few = people_folder(tmp_path / "few", 3)
    with pytest.raises(DataError, match="expected 4 train people or more"):
        train_full_on_people(few, preset, work=tmp_path / "w", out=tmp_path / "m")
    nothing = replace(preset, adapter_samples=0, preference_samples=0)
    with pytest.raises(DataError, match="adapter_samples above 0"):
        train_full_on_people(home / "people", nothing, work=tmp_path / "w", out=tmp_path / "m")


@pytest.mark.slow
def test_a_step_in_which_nobody_is_heard_has_a_way_back(home: Path) -> None:
    """One row a step, as large presets have it, and nothing to align with; in bfloat16."""
    changes: dict[str, Any] = {"adapter_batch": 1, "adapter_samples": 60, "align_weight": 0.0, "dtype": "bf16"}
    report, out = trained(home, "sdxl-idefics2", preference_samples=0, **changes)
    assert report["figures"]["validation"]["flow_loss"]["after"]["value"] > 0
    paints(PrefGen.from_pretrained(out, device="cpu", dtype="bfloat16"), "sdxl")


def test_what_is_published_in_other_ways_is_linked_as_it_is_read(home: Path, tmp_path: Path) -> None:
    """Half-precision twins, pickles and a whole CLIP; a language model that holds updates already is refused."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    preset = published_preset(home, "sd15-idefics2")
    generator, clip = tmp_path / "generator", tmp_path / "clip"
    shutil.copytree(home / "sd15", generator)
    weights = generator / "unet" / "diffusion_pytorch_model.safetensors"
    for name in ("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"):
        shutil.copy(weights, weights.with_name(name))
    (generator / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    small: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small["num_attention_heads"] = 2
    vision = small | {"image_size": 32, "patch_size": 16, "projection_dim": 24}
    whole = CLIPConfig(text_config=small, vision_config=vision, projection_dim=24)
    CLIPModel(whole).save_pretrained(clip)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(clip)
    parts = parts_of(replace(preset, generator=str(generator), image_encoder=str(clip)), tmp_path / "work")
    linked = {p.name for p in (parts.folder / "unet").iterdir()}
    assert linked == {"config.json", weights.name}
    encoder, _ = load_image_encoder(parts.folder, torch.device("cpu"))
    assert encoder.visual_projection.out_features == 24
    assert parts.pipeline("vae").unet is None
    assert parts.side_px(parts.pipeline("vae")) == SIDE_PX
    shutil.copytree(home / "idefics2", tmp_path / "mllm")
    (tmp_path / "mllm" / "lora").mkdir()
    with pytest.raises(ModelError, match="which holds updates"):
        parts_of(replace(preset, language_model=str(tmp_path / "mllm")), tmp_path / "work")
    with pytest.raises(ModelError, match=r"the weights of someone/clip, someone/mllm are not"):
        parts_of(replace(preset, language_model="someone/mllm", image_encoder="someone/clip"), tmp_path / "work")
    with pytest.raises(ConfigError, match="unscaled"):
        train_full_on_people(home / "people", replace(preset, dtype="float16"), work=tmp_path / "w", out=tmp_path / "m")


def test_numbers_that_make_no_training_are_refused(home: Path) -> None:
    preset = published_preset(home, "sd15-idefics2")
    for changes in (
        {"align_people": 1},
        {"asked_pairs": 0},
        {"side_px": 24},
        {"most_pictures": 0},
        {"shown_people": -1},
    ):
        with pytest.raises(ConfigError, match=next(iter(changes))):
            preset.with_overrides(**changes)


def test_the_command_takes_weights_of_ones_own(home: Path, cli: Any, tmp_path: Path) -> None:
    preset = published_preset(home, "sd15-idefics2")
    kept = ("generator", "language_model", "image_encoder", "side_px", "preference_samples", "adapter_samples")
    kept += ("choose_every", "evaluated_people", "user_tokens", "align_people", "strings_by_model")
    given = [word for name in kept for word in ("--set", f"{name}={getattr(preset, name)}")]
    common = ["train", "--preset", "sd15-idefics2", "--people", home / "people", "--work", tmp_path / "work"]
    common += ["-o", tmp_path / "model", "--dtype", "float32", "--batch", "3", *given]
    status, out, err = cli(*common, "--max-minutes", "0")
    assert (status, out) == (0, "unfinished: the same command resumes\n"), err
    status, out, err = cli(*common, "--json")
    assert status == 0, err
    assert json.loads(out)["report"]["preset"]["mllm_batch"] == 3
    assert os.listdir(tmp_path / "work" / "samples") == ["adapter-best.png"]
    assert (tmp_path / "model" / "prefgen.json").exists()


def test_the_dry_run_counts_the_people(home: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefgen.recipes import full_plan
    from prefgen.recipes.counting import StepCount

    for step in ("adapter_step", "lora_step"):
        monkeypatch.setattr(full_plan, step, lambda *_, **__: StepCount(flops=1, held=2**34))
    status, out, err = cli("train", "--dry-run", "--preset", "sd15-smolvlm", "--people", home / "people")
    assert status == 0, err
    assert "train: 8 people, 96 pictures, 8 asked about, 8 painted for" in out
    assert "user encoder" in out


def test_packs_are_shown_with_their_pictures() -> None:
    one = own_conversation(np.random.default_rng(0), some_person(4), 0, 8)
    keys = keys_in(one.pack)
    pictures = {key: torch.full((2, 3), float(key)) for key in keys}
    shown = with_pictures(one.pack, pictures)
    parts = [*shown.history, *(part for branch in shown.branches for part in branch.question)]
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    assert {int(tensor[0, 0]) for tensor in tensors} == set(keys)
    assert not any(isinstance(part, int) for part in parts)
    assert any(isinstance(part, int) for part in one.pack.history), "the pack itself is left alone"


def test_probed_histories_share_no_prompt() -> None:
    hands = dealt(examined(some_person(6)))
    groups = [{opinion.group for opinion in hand} for hand in hands]
    assert len(hands) == 4
    assert sum(map(len, groups)) == len(set().union(*groups)) == 6
    assert {opinion.side for hand in hands for opinion in hand} == {"like"}
    assert len(dealt(examined(some_person(2)))) == 2
    assert [len(hand) for hand in dealt(examined(some_person(80)))] == [8, 8, 8, 8]


@pytest.mark.parametrize("n_states", [3, 4, 13, 25, 33])
def test_unprobed_layers_are_the_papers_regions(n_states: int) -> None:
    choice = unprobed(n_states, LEAST_PROBED - 1)
    assert choice.e_sem == tuple(range(max(0, n_states - 4), n_states))
    assert all(0 <= layer < n_states for layer in choice.e_core)
    if n_states >= 12:
        assert len(choice.e_core) == 4
        assert n_states // 3 <= choice.e_core[0]
        assert choice.e_core[-1] < choice.e_sem[0]
    assert "not probed" in choice.reason


def test_strings_are_found_once_and_a_cut_off_line_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        model = processor = None

    def names_nothing(*_: Any, **__: Any) -> None:
        raise ModelError("the vision-language model named no words of taste")

    def found(load: Any) -> Any:
        return strings_of(home / "people", "train", load, path, deadline=Deadline(), say=lambda _: None)

    path = tmp_path / "strings.jsonl"
    with pytest.raises(ModelError, match="cannot be asked"):
        found(Silent)
    assert not path.exists(), "a model that fails is no model that is silent"
    monkeypatch.setattr("prefgen.recipes.full_people.strings.taste_words", names_nothing)
    first = found(Silent)
    assert len(first) == 8
    assert first["user 0"][0].startswith("prompt 0, prompt 1"), "a model that says nothing leaves the prompts"
    whole = path.read_text()

    def again() -> Any:
        raise AssertionError("asked twice")

    assert found(again) == first
    path.write_text(whole[:-20])
    assert found(Silent) == first
    assert path.read_text() == whole
    path.unlink()
    assert found(None) == first


def test_weights_are_told_apart_without_being_read(tmp_path: Path, home: Path) -> None:
    source = home / "clip"
    published_preset(home, "sd15-idefics2")
    first = tmp_path / "first"
    for path in source.iterdir():
        copy_of(path, first / path.name)
    assert stamp(first) == stamp(source)
    state = load_file(first / "model.safetensors")
    name = sorted(state)[0]
    (first / "model.safetensors").unlink()
    from safetensors.torch import save_file

    save_file({**state, name: state[name] + 1}, first / "model.safetensors", {"format": "pt"})
    assert stamp(first) != stamp(source)


def test_presets_name_a_picture_encoder() -> None:
    assert all(isinstance(p, FullPreset) and p.image_encoder.count("/") == 1 for p in FULL_PRESETS.values())
