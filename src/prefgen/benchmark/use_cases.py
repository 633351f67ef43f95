"""`prefgen bench --task uses`: what somebody would do with it, one character over eight prompts, one line of products.

Each sheet is painted from one seed, as one would to keep a character. Sheets of three people are there to be looked at;
figures are taken over more people: whether each picture still shows what was asked for, how alike the subject stays
within a sheet, and how much more alike in style a sheet's pictures are than those of different people's sheets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prefgen.agents import SETTINGS
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.judge import Judge, PictureJudge
from prefgen.benchmark.likeness import unit_rows
from prefgen.benchmark.methods import METHODS, Bench
from prefgen.benchmark.metrics.subject_accuracy import subject_hits
from prefgen.benchmark.population import members_of
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.run import (
    WEIGHTS,
    check_names,
    command_of,
    current_commit,
    judges_folder,
    weights_folder,
    weights_sha256,
)
from prefgen.benchmark.statistics import difference_interval, mean_interval
from prefgen.benchmark.tasks import Case, Task, cases_of
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.core import InputError, seed_of
from prefgen.pipeline.sheet import GREEN, RED, Sentence, Strip, contact_sheet

CHARACTERS = ("fox", "cat", "rabbit", "bear", "penguin", "elephant")
PRODUCTS = ("teapot", "cup", "lamp", "chair", "clock", "guitar", "umbrella", "hat", "book", "crown", "balloon", "star")
N_PICTURES, N_SHEETS, N_USERS = 8, 3, 24
DEFAULT_METHODS = ("prompt", "prefgen", "ip_adapter")


@dataclass(frozen=True, kw_only=True)
class UseCase:
    """`prompts` gives a person's eight (subject, setting), none of whose subjects stands in their history."""

    name: str
    title: str

    def prompts(self, case: Case) -> list[tuple[str, str | None]]:
        """What is asked for; the same wherever a history allows it."""
        known = {s.scene.subject for s in case.member.history()}
        if self.name == "character":
            subject = next((s for s in CHARACTERS if s not in known), CHARACTERS[-1])
            return [(subject, setting) for setting in SETTINGS[:N_PICTURES]]
        fresh = [s for s in PRODUCTS if s not in known] + [s for s in PRODUCTS if s in known]
        return [(subject, None) for subject in fresh[:N_PICTURES]]

    def tasks(self, case: Case, seed: int) -> list[Task]:
        """One sheet's tasks, all of one seed."""
        drawn = seed_of("use case", self.name, case.person.id, seed) % 2**53
        return [
            Task(case=case, kind="ordinary", prompt_index=k, subject=subject, setting=setting, seed=drawn)
            for k, (subject, setting) in enumerate(self.prompts(case))
        ]


USE_CASES = (
    UseCase(name="character", title="One character, eight places"),
    UseCase(name="products", title="One line of products"),
)


def bench_uses(
    model_folder: str | Path = "embedded",
    *,
    out: Path,
    seed: int = 0,
    n_users: int | None = None,
    methods: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Paints both use cases for test people and gives what `bench` gives; `out` gets `character.png`, `products.png`
    and `uses.json`. `methods` are names of `METHODS`."""
    from prefgen.pipeline import PrefGen

    n = n_users or N_USERS
    if n < 2:
        raise InputError(f"expected at least 2 users, got {n}", hint="styles are compared between people")
    names = tuple(methods or DEFAULT_METHODS)
    check_names(names, METHODS)
    folder = weights_folder(model_folder)
    setup = Bench(
        chain=PrefGen.from_pretrained(str(model_folder)),
        sampling=Sampling(n_steps=25),
        baselines=(folder or WEIGHTS / "embedded").parent / "baselines",
    )
    rows = use_case_rows(
        setup, Judge.load(judges_folder(folder) / "test"), cases_of(members_of("test")[:n]), names, out, seed
    )
    result = {
        "commit": current_commit(),
        "weights_sha256": weights_sha256(folder),
        "n_users": n,
        "seeds": [seed],
        "rows": [r.to_json() for r in rows],
        "command": command_of(model_folder, False, seed, out, n_users, methods, None, task="uses"),
    }
    (out / "uses.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def use_case_rows(
    setup: Bench, judge: PictureJudge, cases: Sequence[Case], methods: Sequence[str], out: Path, seed: int = 0
) -> list[Row]:
    """Rows `…@character` and `…@products` of each method, and a sheet of each use case in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for use in USE_CASES:
        tasks = [task for case in cases for task in use.tasks(case, seed)]
        made = {m: np.stack(METHODS[m](setup, **tuned_parameters(m)).paint(tasks)) for m in methods}
        read = {m: judge.read(pictures) for m, pictures in made.items()}
        results = Results(cases=cases, tasks=tasks, pictures=made, readings=read, bench=setup, seed=seed)
        rows += [r for m in methods for r in _figures(results, m, use.name)]
        _sheet(use, cases[:N_SHEETS], made).save(out / f"{use.name}.png")
    return rows


def _figures(results: Results, method: str, use: str) -> list[Row]:
    hits = results.by_user(subject_hits(results, method))
    subjects = [_alike(results.clip(method)[results.tasks_of(c.user)]) for c in results.cases]
    style = unit_rows(results.readings[method].style)
    sheets = [style[results.tasks_of(c.user)] for c in results.cases]
    within = np.array([_alike(sheet) for sheet in sheets])
    between = np.array([_likeness_to_others(sheets, k) for k in range(len(sheets))])
    return [
        row(method, f"subject_accuracy@{use}", mean_interval(hits)),
        row(method, f"subject_consistency_clip@{use}", mean_interval(np.array(subjects))),
        row(method, f"style_consistency_judge_features@{use}", mean_interval(within)),
        row(method, f"style_consistency_above_other_people@{use}", difference_interval(within, between)),
    ]


def _alike(unit: np.ndarray) -> float:
    """Mean cosine of all pairs of rows."""
    n = len(unit)
    return float(((unit @ unit.T).sum() - np.trace(unit @ unit.T)) / (n * (n - 1)))


def _likeness_to_others(sheets: Sequence[np.ndarray], k: int) -> float:
    """Mean cosine between one sheet's pictures and those of all others."""
    middle = sheets[k].mean(0)
    return float(np.mean([middle @ other.mean(0) for j, other in enumerate(sheets) if j != k]))


def _sheet(use: UseCase, cases: Sequence[Case], made: dict[str, np.ndarray]) -> Image.Image:
    blocks: list[Strip | Sentence] = []
    for k, case in enumerate(cases):
        blocks += [
            Sentence(text=f"Person {k + 1}", size_px=30, space_above_px=28),
            Strip(caption="likes", pictures=case.shelf.liked, n_columns=N_PICTURES, frame=GREEN),
            Strip(caption="dislikes", pictures=case.shelf.disliked, n_columns=N_PICTURES, frame=RED),
        ]
        for method, pictures in made.items():
            mine = [Image.fromarray(p) for p in pictures[k * N_PICTURES : (k + 1) * N_PICTURES]]
            blocks.append(Strip(caption=method, pictures=mine, n_columns=N_PICTURES))
    return contact_sheet(use.title, blocks)
