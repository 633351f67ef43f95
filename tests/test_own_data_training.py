"""`prefgen train --people` on a tiny random model: it learns, resumes to the same bytes, and says what is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prefgen import PrefGen
from prefgen.cli.main import status_of
from prefgen.core import ConfigError, DataError, InputError, ModelError, ProfileError
from prefgen.pipeline import read_card
from prefgen.recipes.own_data.report import REPORT, compared, lines_of, told_plainly
from prefgen.recipes.own_data.run import preset_with_people, train_on_people
from prefgen.recipes.own_data.settings import own_data_preset_named
from raw_choices import bytes_under
from tiny_own_data import people_folder, smallest, start_folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start_folder(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return people_folder(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, start: Path, people: Path) -> Path:
    """A work folder whose `model` is finished."""
    torch.set_num_threads(1)
    work = tmp_path_factory.mktemp("work")
    assert train_on_people(people, str(start), smallest(), work=work / "work", out=work / "model") is not None
    return work


def test_a_model_comes_out_that_every_method_takes(trained: Path, start: Path, people: Path) -> None:
    model = PrefGen.from_pretrained(trained / "model", device="cpu")
    liked = sorted((people / "images").glob("0-*-like.png"))[:3]
    me = model.profile(liked=liked, disliked=[people / "images" / "0-0-dislike.png"])
    assert len(model("a fox", profile=me, num_inference_steps=2, seed=1).images) == 1
    assert all(0 <= p <= 1 for p in model.score(me, liked))
    model.explain(me)
    assert {p.suffix for p in (trained / "model").rglob("*") if p.is_file()} <= {".safetensors", ".json", ".jinja"}
    before = PrefGen.from_pretrained(start, device="cpu")
    assert before.sha256 != model.sha256
    with pytest.raises(ProfileError, match="was made by the model") as refused:
        before.score(me, liked)
    assert "prefgen profile rebuild" in str(refused.value)


def test_only_what_is_trained_changes(trained: Path, start: Path) -> None:
    before, after = bytes_under(start), bytes_under(trained / "model")
    changed = {name.split("/")[0] for name in after if before.get(name) != after[name]}
    kept = {"vae", "unet", "text_encoder", "image_encoder", "tokenizer", "scheduler", "prefgen.json"}
    from safetensors.torch import load

    for name in (n for n in after if n.split("/")[0] in kept and n.endswith(".safetensors")):
        old, new = load(before[name]), load(after[name])
        assert all(torch.equal(old[k].half() if old[k].is_floating_point() else old[k], new[k]) for k in old)
    assert {"mllm", "user_encoder", "adapter", REPORT} <= changed
    assert read_card(trained / "model") == replace(read_card(start), preset="test+people")
    assert preset_with_people("test+people") == "test+people"


def test_the_report_has_figures_with_intervals(trained: Path) -> None:
    report = json.loads((trained / "model" / REPORT).read_text())
    figures = report["figures"]["validation"]
    assert set(figures) >= {"which_of_two", "yes_no", "which_of_two_by_language_model", "flow_loss"}
    for row in figures.values():
        for key in ("before", "after", "difference"):
            assert row[key]["low"] <= row[key]["value"] <= row[key]["high"]
            assert row[key]["n"] == 4
    nobody = figures["flow_loss_hearing_nobody"]
    assert nobody["difference"]["value"] == pytest.approx(0, abs=1e-3)
    assert report["figures"]["test"] == {}
    assert report["people"]["train"] == {"people": 8, "pictures": 96, "asked_about": 8, "painted_for": 8}
    assert any("training" in line for line in lines_of(report["figures"]))


def test_strong_tastes_are_learned(trained: Path) -> None:
    log = (trained / "work" / "own-preferences.report.json").read_text()
    assert json.loads(log)["samples"] >= 160
    row = json.loads((trained / "model" / REPORT).read_text())["figures"]["validation"]
    assert row["which_of_two"]["after"]["value"] >= row["which_of_two"]["before"]["value"]


def test_a_training_that_is_broken_off_everywhere_ends_in_the_same_bytes(
    trained: Path, start: Path, people: Path, tmp_path: Path
) -> None:
    short = {"preference_samples": 80, "adapter_samples": 16}
    outs = [tmp_path / "one" / "model", tmp_path / "two" / "model"]
    report = train_on_people(people, str(start), smallest(**short), work=tmp_path / "one", out=outs[0])
    assert report is not None
    n_calls, again = 0, None
    while again is None:
        n_calls += 1
        again = train_on_people(
            people, str(start), smallest(**short), work=tmp_path / "two", out=outs[1], max_minutes=0
        )
        assert n_calls < 30
    assert n_calls > 6
    assert report == again
    assert bytes_under(outs[0]) == bytes_under(outs[1])


def test_a_finished_training_is_not_done_again(trained: Path, start: Path, people: Path) -> None:
    before = bytes_under(trained / "model")
    report = train_on_people(people, str(start), smallest(), work=trained / "elsewhere", out=trained / "model")
    assert report == json.loads(before[REPORT])
    assert not (trained / "elsewhere").exists()
    assert bytes_under(trained / "model") == before


def test_a_stage_may_be_left_out(start: Path, people: Path, tmp_path: Path) -> None:
    settings = smallest(preference_samples=0, adapter_samples=0)
    out = tmp_path / "model"
    assert train_on_people(people, str(start), settings, work=tmp_path / "work", out=out) is not None
    before, after = bytes_under(start), bytes_under(out)
    calibration = json.loads(after["mllm/calibration.json"])
    assert calibration["word_temperature"] == 1.5
    assert calibration["temperature"] != json.loads(before["mllm/calibration.json"])["temperature"]


def test_too_few_people(start: Path, tmp_path: Path) -> None:
    few = people_folder(tmp_path / "few", n_people=3)
    with pytest.raises(DataError, match=r"expected 4 train people or more .* 'preferences', got 2 of 2") as refused:
        train_on_people(few, str(start), smallest(), work=tmp_path / "work", out=tmp_path / "model")
    assert "--set preference_samples=0" in str(refused.value)
    settings = smallest(least_validation_people=9, least_people=1)
    with pytest.raises(DataError, match="expected 9 validation people") as refused:
        train_on_people(few, str(start), settings, work=tmp_path / "work", out=tmp_path / "model")
    assert "--validation 0.3" in str(refused.value)
    assert not (tmp_path / "model").exists()


def test_a_hostile_folder_is_one_line_and_what_was_read_is_kept(start: Path, people: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(people, tmp_path / "people")
    missing = folder / "images" / "1-2-like.png"
    picture = missing.read_bytes()
    settings = smallest(preference_samples=0, adapter_samples=0)
    where = {"work": tmp_path / "work", "out": tmp_path / "model"}
    for damage in (None, b"", picture[:200], b"not a picture"):
        missing.unlink()
        if damage is not None:
            missing.write_bytes(damage)
        with pytest.raises(InputError, match=r"user 'user 1': .*1-2-like.png") as refused:
            train_on_people(folder, str(start), settings, **where)
        assert "\n" not in refused.value.message
        missing.write_bytes(picture)
    shard = folder / "people" / "validation-00000.jsonl"
    lines = shard.read_text()
    shard.write_text(lines.replace('"items"', '"items', 1))
    with pytest.raises(DataError, match=r"validation-00000.jsonl, line 1: not valid JSON"):
        train_on_people(folder, str(start), settings, **where)
    shard.write_text(lines)
    assert not where["out"].exists()
    assert train_on_people(folder, str(start), settings, **where) is not None
    with pytest.raises(InputError, match="no folder of people"):
        train_on_people(tmp_path, str(start), settings, **where)


def test_a_picture_may_not_lead_out_of_the_folder(start: Path, people: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(people, tmp_path / "people")
    shard = folder / "people" / "train-00000.jsonl"
    shard.write_text(shard.read_text().replace("images/0-0-like.png", "../outside.png"))
    with pytest.raises(InputError, match="leads out of the folder"):
        train_on_people(folder, str(start), smallest(), work=tmp_path / "work", out=tmp_path / "model")


def test_another_start_folder_or_setting_is_refused(trained: Path, start: Path, people: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds a training on other people"):
        train_on_people(people, str(start), smallest(seed=1), work=trained / "work", out=tmp_path / "model")
    with pytest.raises(ConfigError, match="expected a new folder for the model"):
        train_on_people(people, str(start), smallest(seed=1), work=tmp_path / "work", out=trained / "model")
    other = shutil.copytree(start, tmp_path / "start")
    index = other / "model_index.json"
    index.write_text(index.read_text().replace('"StableDiffusionPipeline"', '"StableDiffusionXLPipeline"'))
    with pytest.raises(ModelError, match="expected a model of the embedded kind"):
        train_on_people(people, str(other), smallest(), work=tmp_path / "work", out=tmp_path / "model")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--stage", "adapter"], "expected no --stage with --people"),
        (["--batch", "3"], "expected no --batch with --people"),
        (["--preset", "sdxl-idefics2"], "stabilityai/stable-diffusion-xl-base-1.0, openai/clip"),
        (["--preset", "sdxl-idefic2"], "did you mean 'sdxl-idefics2'?"),
        (["--preset", "tine"], "did you mean 'tiny'?"),
        (["--set", "preference_sample=1"], "did you mean 'preference_samples'?"),
        (["--set", "adapter_samples=0"], "the user encoder reads the language model's hidden states"),
        (["--set", "adapter_batch=0"], "expected a larger adapter_batch, got 0"),
        (["--set", "simulated_share=1"], "expected simulated_share from 0 to below 1"),
    ],
)
def test_mistakes_are_one_line(
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    part: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of(["train", "--people", str(people), *words]) == 2
    assert part in capsys.readouterr().err
    assert bytes_under(tmp_path) == {}


def test_a_dry_run_counts(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of(["train", "--people", str(people), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {split: counts["people"] for split, counts in told["counts"].items()} == {
        "train": 8,
        "validation": 4,
        "test": 0,
    }
    assert told["counts"]["train"] == {"people": 8, "pictures": 96, "asked_about": 8, "painted_for": 8}
    assert told["preset"]["name"] == "tiny"
    assert bytes_under(tmp_path) == {}


def test_every_preset_is_sound_and_a_verdict_follows_its_interval() -> None:
    assert own_data_preset_named("embedded").checked()
    before = {"which_of_two": np.zeros(12), "flow_loss": np.zeros(12), "yes_no": np.zeros(12)}
    change = np.linspace(0.1, 0.2, 12)
    after = {"which_of_two": change, "flow_loss": change, "yes_no": change - 0.15}
    table = compared(before, after)
    assert [table[name]["verdict"] for name in before] == ["better", "worse", "no clear change"]
    assert told_plainly({"validation": table, "test": {}}) == (
        "The training helped on validation people: which_of_two; worse: flow_loss."
    )
    assert told_plainly({"validation": compared(before, before), "test": table}).startswith(
        "The training helped on test"
    )
    assert told_plainly({"validation": compared(before, before), "test": {}}).startswith(
        "The training did not clearly help on validation people. The model is kept"
    )
    few = compared({"yes_no": np.zeros(3)}, {"yes_no": np.ones(3)})
    assert few["yes_no"]["verdict"] == "too few people to tell"
    assert told_plainly({"validation": few, "test": {}}).startswith("Whether the training helped cannot be told")
