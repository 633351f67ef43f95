"""Use cases: what is asked for, how figures read sheets, and that sheets are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_judge import FakeChain, FakeJudge
from prefgen.benchmark import use_cases
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.population import members_of
from prefgen.benchmark.tasks import cases_of
from prefgen.benchmark.use_cases import USE_CASES, use_case_rows


@pytest.mark.parametrize("use", USE_CASES, ids=[u.name for u in USE_CASES])
def test_a_sheet_has_eight_prompts_one_seed_and_nothing_of_the_history(use: use_cases.UseCase) -> None:
    for case in cases_of(members_of("validation")[:12]):
        tasks = use.tasks(case, 0)
        assert len({t.prompt for t in tasks}) == len(tasks) == 8
        assert len({t.seed for t in tasks}) == 1
        n_subjects = len({t.subject for t in tasks})
        assert n_subjects == (1 if use.name == "character" else 8)
        shown = {s.scene.subject for s in case.member.history()}
        free = [t for t in tasks if t.subject not in shown]
        assert len(free) >= 6 or shown >= set(use_cases.CHARACTERS)


def test_likeness_within_a_sheet_and_to_others() -> None:
    red, blue = np.tile([1.0, 0.0], (3, 1)), np.tile([0.0, 1.0], (3, 1))
    assert use_cases._alike(red) == pytest.approx(1)
    assert use_cases._alike(np.eye(3)) == pytest.approx(0)
    assert use_cases._likeness_to_others([red, red, blue], 0) == pytest.approx(0.5)


def test_rows_of_every_method_and_both_sheets(tmp_path: Path) -> None:
    setup = Bench(chain=FakeChain(), sampling=Sampling(n_steps=1), baselines=tmp_path)
    cases = cases_of(members_of("validation")[:4])
    rows = {(r.method, r.metric): r for r in use_case_rows(setup, FakeJudge(), cases, ("prompt", "painter"), tmp_path)}
    assert {m for m, _ in rows} == {"prompt", "painter"}
    for use in USE_CASES:
        assert rows["painter", f"subject_accuracy@{use.name}"].n == 4
        width, height = Image.open(tmp_path / f"{use.name}.png").size
        assert height > width
