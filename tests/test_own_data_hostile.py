"""`prefgen train --people` on folders with too few people, damaged ones, and held-out people: as a real command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefgen.history.collect import people_in
from prefgen.history.splits import Split
from prefgen.recipes.own_data.report import REPORT
from prefgen.recipes.own_data.run import train_on_people
from raw_choices import bytes_under
from tiny_own_data import people_folder, smallest, start_folder, write_people

SHORT = {"preference_samples": 80, "choose_every": 40, "adapter_samples": 16, "evaluated_people": 2}
DEALT: tuple[Split, ...] = ("train", "train", "validation", "test")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start_folder(tmp_path_factory.mktemp("start"))


@pytest.fixture
def train(cli, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command on the folder `people` beside its `work` and `model`; exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    numbers = [
        word for name, value in smallest(**SHORT).__dict__.items() if name != "name" for word in _set(name, value)
    ]

    def run(*more: str) -> tuple[int, str, str]:
        where = ["--start", str(start), "--work", "work", "-o", "model"]
        return cli("train", "--people", "people", *where, *numbers, *more)

    return run


def _set(name: str, value: object) -> list[str]:
    return ["--set", f"{name}={value}"]


def rows_of(folder: Path) -> dict[Split, list[dict[str, Any]]]:
    """Everybody's rows, to be written back changed."""
    return {
        split: [{"user_id": p.user_id, "items": list(p.items)} for p in people_in(folder, split)]
        for split in ("train", "validation", "test")
    }


def rewritten(folder: Path, rows: dict[Split, list[dict[str, Any]]]) -> None:
    for old in (folder / "people").iterdir():
        old.unlink()
    write_people(folder, {split: [json.dumps(row) for row in some] for split, some in rows.items()})


def told(result: tuple[int, str, str]) -> tuple[str, str]:
    """The error and the hint of a refused command: a line each, exit status 2, nothing else wrong."""
    status, _, err = result
    lines = [line for line in err.splitlines() if line.startswith(("error:", "hint:"))]
    assert (status, [line.split(":")[0] for line in lines]) == (2, ["error", "hint"]), err
    assert "Traceback" not in err
    return lines[0], lines[1]


def test_an_empty_folder(train, tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    for more in ((), ("--dry-run",)):
        error, hint = told(train(*more))
        assert "people is no folder of people: it has no data.json" in error
        assert "prefgen data makes such folders" in hint
    write_people(tmp_path / "people", {"train": [], "validation": [], "test": []})
    error, hint = told(train())
    assert "expected 4 train people or more" in error
    assert error.endswith("got 0 of 0")
    assert "collect more people" in hint
    assert not (tmp_path / "work").exists()


def test_one_person_alone_has_nobody_held_out(train, tmp_path: Path) -> None:
    people_folder(tmp_path / "people", 1)
    error, hint = told(train())
    assert "expected 4 train people or more" in error
    assert error.endswith("got 1 of 1")
    assert "one alone needs no training: prefgen profile build" in hint
    error, hint = told(train("--set", "least_people=1"))
    assert "expected 2 validation people or more" in error
    assert error.endswith("got 0 of 0")
    assert "--validation 0.3" in hint
    assert not (tmp_path / "work").exists()


def test_a_dry_run_says_what_is_there_and_refuses_too_few(train, tmp_path: Path) -> None:
    people_folder(tmp_path / "people", 3)
    status, out, err = train("--dry-run", "--json")
    assert json.loads(out)["counts"]["train"] == {"people": 2, "pictures": 24, "asked_about": 2, "painted_for": 2}
    assert "got 2 of 2" in told((status, out, err))[0]


def test_people_without_dislikes(train, tmp_path: Path) -> None:
    folder = people_folder(tmp_path / "people", splits=DEALT)
    rows = rows_of(folder)
    rows["train"][0]["items"] = [item for item in rows["train"][0]["items"] if item["side"] == "like"]
    rewritten(folder, rows)
    status, out, err = train("--json")
    assert status == 0, err
    counts = json.loads(out)["report"]["people"]["train"]
    assert counts == {"people": 6, "pictures": 66, "asked_about": 5, "painted_for": 6}
    for some in rows.values():
        for row in some:
            row["items"] = [item for item in row["items"] if item["side"] == "like"]
    rewritten(folder, rows)
    error, hint = told(train("--work", "work_2", "-o", "model_2"))
    assert "a liked and a disliked picture" in error
    assert error.endswith("got 0 of 6")
    assert "--set preference_samples=0" in hint
    status, out, err = train("--work", "work_2", "-o", "model_2", "--set", "preference_samples=0", "--json")
    assert status == 0, err
    figures = json.loads(out)["report"]["figures"]
    assert set(figures["test"]) == {"flow_loss", "flow_loss_hearing_nobody", "flow_loss_by_hearing"}
    calibration = json.loads((tmp_path / "model_2" / "mllm" / "calibration.json").read_text())
    assert calibration["temperature"] == 1.5


@pytest.mark.parametrize("n_bytes", [None, 0, 60, 2000])
def test_a_missing_or_truncated_picture(train, tmp_path: Path, n_bytes: int | None) -> None:
    picture = people_folder(tmp_path / "people") / "images" / "3-4-dislike.png"
    whole = picture.read_bytes()
    assert len(whole) > 2000
    picture.unlink()
    if n_bytes is not None:
        picture.write_bytes(whole[:n_bytes])
    status, _, err = train()
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert status == 2
    assert len(errors) == 1
    assert "user 'user 3'" in errors[0]
    assert "3-4-dislike.png" in errors[0]
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"side": None}, "expected a side (like or dislike), got None"),
        ({"side": "meh"}, "expected a side (like or dislike), got 'meh'"),
        ({"likes": 1}, "expected cells of image, side, prompt"),
        ({"image": "../start"}, "leads out of the folder"),
        ({"image": 7}, "7"),
        ({"prompt": "a" * 30_000}, "prompt"),
        ({"time": "yesterday"}, "time"),
        ({"weight": -1}, "weight"),
    ],
)
def test_a_hostile_row(train, tmp_path: Path, change: dict[str, object], part: str) -> None:
    folder = people_folder(tmp_path / "people")
    rows = rows_of(folder)
    rows["train"][1]["items"][2] |= change
    rewritten(folder, rows)
    status, _, err = train()
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert (status, len(errors)) == (2, 1), err
    assert part in errors[0]
    assert not (tmp_path / "model").exists()


def test_a_row_without_a_side_and_a_person_in_two_splits(train, tmp_path: Path) -> None:
    folder = people_folder(tmp_path / "people")
    rows = rows_of(folder)
    rows["validation"].append(rows["train"][0])
    rewritten(folder, rows)
    error, hint = told(train("--dry-run"))
    assert "user 'user 0' stands in train and in validation" in error
    assert "cannot be held out" in hint
    rows["validation"].pop()
    del rows["train"][0]["items"][0]["side"]
    rewritten(folder, rows)
    status, _, err = train()
    assert status == 2
    assert "train-00000.jsonl, line 1: expected a 'side'" in err


def test_test_people_change_nothing_but_the_report(start: Path, tmp_path: Path) -> None:
    """Weights are equal bytes when held-out people are of the other mind; and are not when the learned ones are."""
    weights, reports = {}, {}
    turns: tuple[Split | None, ...] = (None, "test", "train")
    for turned in turns:
        place = tmp_path / str(turned)
        folder = people_folder(place / "people", splits=DEALT, turned=turned)
        report = train_on_people(folder, str(start), smallest(**SHORT), work=place / "work", out=place / "model")
        assert report is not None
        weights[turned] = {name: data for name, data in bytes_under(place / "model").items() if name != REPORT}
        reports[turned] = report
    assert weights["test"] == weights[None]
    assert reports["test"]["figures"]["test"] != reports[None]["figures"]["test"]
    for name in ("mllm/model.safetensors", "user_encoder/model.safetensors"):
        assert weights["train"][name] != weights[None][name]


def test_a_command_that_is_stopped_goes_on_to_the_same_weights(train, tmp_path: Path, monkeypatch) -> None:
    """Ctrl-C in the middle of both stages: nothing is published, the same command ends in the unbroken run's bytes."""
    from prefgen.recipes.loop import Loop

    people_folder(tmp_path / "people")
    assert train("--work", "work_1", "-o", "model_1")[0] == 0
    one_step, n_steps = Loop.one_step, 0

    def interrupted(self, *given: Any, **named: Any) -> Any:
        nonlocal n_steps
        n_steps += 1
        if n_steps in (2, 5):
            raise KeyboardInterrupt
        return one_step(self, *given, **named)

    monkeypatch.setattr(Loop, "one_step", interrupted)
    statuses = []
    while not statuses or (statuses[-1] == 130 and len(statuses) < 9):
        assert not (tmp_path / "model").exists()
        statuses.append(train()[0])
    assert statuses == [130, 130, 0]
    assert bytes_under(tmp_path / "model") == bytes_under(tmp_path / "model_1")
