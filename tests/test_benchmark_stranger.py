"""The stranger's test: what is written, that nothing gives the truth away, and how answers are graded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_judge import FakeChain
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.population import members_of
from prefgen.benchmark.statistics import share_interval
from prefgen.benchmark.stranger import ANSWERS, KEY, grade_stranger_test, write_stranger_test
from prefgen.core import DataError, InputError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger") / "deep"
    setup = Bench(chain=FakeChain(), sampling=Sampling(n_steps=1), baselines=folder)
    write_stranger_test(setup, members_of("validation"), folder, n_people=3)
    return folder


def answered(written: Path, tmp_path: Path, answers: dict[str, str]) -> Path:
    for name in (KEY, ANSWERS):
        (tmp_path / name).write_text((written / name).read_text())
    (tmp_path / ANSWERS).write_text(json.dumps(answers))
    return tmp_path


def truth(written: Path) -> dict[str, str]:
    return json.loads((written / KEY).read_text())["sheets"]


def test_every_person_has_a_history_and_a_sheet_and_names_tell_nothing(written: Path) -> None:
    names = {p.name for p in written.iterdir()}
    assert names == {
        *(f"history-{x}.png" for x in "ABC"),
        *(f"pictures-{k}.png" for k in (1, 2, 3)),
        KEY,
        ANSWERS,
    }
    assert json.loads((written / ANSWERS).read_text()) == {"1": "", "2": "", "3": ""}
    assert sorted(truth(written).values()) == ["A", "B", "C"]
    sheets = [np.asarray(Image.open(written / f"pictures-{k}.png")) for k in (1, 2, 3)]
    assert not np.array_equal(sheets[0], sheets[1])
    assert not any(Image.open(p).info for p in written.glob("*.png")), "no metadata that gives the truth away"


def test_answers_are_graded_in_any_case(written: Path, tmp_path: Path) -> None:
    right = truth(written)
    result = grade_stranger_test(answered(written, tmp_path, {k: f" {v.lower()} " for k, v in right.items()}))
    assert (result["n"], result["n_right"], result["share"], result["method"]) == (3, 3, 1.0, "prefgen")
    assert result["low"] < 0.5
    assert result["high"] == pytest.approx(1.0)
    one = grade_stranger_test(answered(written, tmp_path, dict.fromkeys(right, "A")))
    assert one["n_right"] == 1


@pytest.mark.parametrize("answers", [{}, {"1": "A", "2": "B", "3": ""}, {"1": "A", "2": "B", "3": "Z"}])
def test_missing_and_unknown_answers_are_refused(written: Path, tmp_path: Path, answers: dict[str, str]) -> None:
    with pytest.raises(DataError, match="expected one of"):
        grade_stranger_test(answered(written, tmp_path, answers))


def test_a_folder_without_a_test_and_too_many_people_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a stranger's test"):
        grade_stranger_test(tmp_path)
    (tmp_path / KEY).write_text("[]")
    with pytest.raises(DataError, match="expected an object"):
        grade_stranger_test(tmp_path)
    setup = Bench(chain=FakeChain(), sampling=Sampling(n_steps=1), baselines=tmp_path)
    with pytest.raises(InputError, match="people"):
        write_stranger_test(setup, members_of("validation"), tmp_path, n_people=27)


def test_the_interval_of_a_share_is_wilsons() -> None:
    low, high = share_interval(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-3), pytest.approx(0.9433, abs=1e-3))
    assert share_interval(0, 10)[0] == 0
    assert share_interval(10, 10)[1] == pytest.approx(1)
    assert share_interval(10, 10)[0] > 0.6
