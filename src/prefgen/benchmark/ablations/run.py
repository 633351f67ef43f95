"""`prefgen bench --task ablations`: every question on the same people, prompts and seeds."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prefgen.benchmark.ablations.asking import Asking
from prefgen.benchmark.ablations.page import write_page
from prefgen.benchmark.ablations.questions import QUESTIONS
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.judge import Judge
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.population import members_of
from prefgen.benchmark.results import Row
from prefgen.benchmark.run import (
    WEIGHTS,
    check_names,
    command_of,
    current_commit,
    judges_folder,
    weights_folder,
    weights_sha256,
)
from prefgen.benchmark.store import PictureStore
from prefgen.benchmark.tasks import cases_of
from prefgen.benchmark.tuning import TUNING_PATH
from prefgen.core import InputError


@dataclass(frozen=True, kw_only=True)
class AblationPlan:
    """People of the benchmark's file, people made up for a question about one kind, and seeds a prompt."""

    n_users: int
    n_of_kind: int
    n_seeds: int


QUICK = AblationPlan(n_users=16, n_of_kind=8, n_seeds=1)
FULL = AblationPlan(n_users=96, n_of_kind=48, n_seeds=2)


def bench_ablations(
    model_folder: str | Path = "embedded",
    quick: bool = True,
    seed: int = 0,
    out: str | Path | None = None,
    n_users: int | None = None,
    methods: Sequence[str] | None = None,
    report: str | Path | None = None,
) -> dict[str, Any]:
    """Asks `methods`, names of `QUESTIONS`, or all of them, on the test people with the test judge.

    `out` keeps pictures (the same call goes on where a broken one stopped) and the result as `ablations.json`; `report`
    is a folder for the page `ablations.html` with a plot for each question. Gives what `bench` gives.
    """
    from prefgen.pipeline import PrefGen

    names = tuple(methods or QUESTIONS)
    check_names(names, QUESTIONS)
    plan = QUICK if quick else FULL
    if n_users is not None and n_users < 2:
        raise InputError(f"expected at least 2 users, got {n_users}", hint="a stranger is needed for every person")
    folder = weights_folder(model_folder)
    weights, baselines = weights_sha256(folder), (folder or WEIGHTS / "embedded").parent / "baselines"
    asking = Asking(
        bench=Bench(
            chain=PrefGen.from_pretrained(str(model_folder)),
            sampling=Sampling(),
            baselines=baselines,
        ),
        judge=Judge.load(judges_folder(folder) / "test"),
        cases=tuple(cases_of(members_of("test")[: n_users or plan.n_users])),
        n_of_kind=plan.n_of_kind if n_users is None else max(2, n_users // 2),
        n_seeds=plan.n_seeds,
        seed=seed,
        store=PictureStore(folder=None if out is None else Path(out) / "pictures"),
        key=(weights, weights_sha256(baselines), TUNING_PATH.read_text()),
    )
    rows = answers(asking, names)
    result = {
        "commit": current_commit(),
        "weights_sha256": weights,
        "n_users": len(asking.cases),
        "seeds": [seed],
        "rows": [r.to_json() for r in rows],
        "command": command_of(model_folder, quick, seed, out, n_users, methods, None, report, task="ablations"),
    }
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out) / "ablations.json").write_text(json.dumps(result, indent=1) + "\n")
    if report is not None:
        write_page(Path(report) / "ablations.html", [QUESTIONS[name] for name in names], rows, result)
    return result


def answers(asking: Asking, names: Sequence[str]) -> list[Row]:
    """Each question's rows."""
    rows: list[Row] = []
    bar = tqdm(names, unit="question", file=sys.stderr, disable=None)
    for name in bar:
        bar.set_description(name)
        rows += QUESTIONS[name].measure(asking)
    return rows
