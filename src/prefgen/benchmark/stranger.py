"""A stranger's test: shuffled contact sheets of painted pictures, to be matched to the histories they were painted for.

Whoever looks sees pictures alone: ten people's likes and dislikes, and ten sheets painted for them from the same
prompts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import METHODS, Bench
from prefgen.benchmark.population import Member, members_of
from prefgen.benchmark.run import WEIGHTS, weights_folder
from prefgen.benchmark.statistics import share_interval
from prefgen.benchmark.tasks import Case, Task, cases_of
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.core import DataError, InputError, numpy_rng, seed_of
from prefgen.pipeline.sheet import GREEN, RED, Strip, contact_sheet

PROMPTS = (
    ("fox", "by a lake"),
    ("house", "in the mountains"),
    ("teapot", None),
    ("tree", "in a meadow"),
    ("boat", "by a lake"),
    ("cat", "in a room"),
    ("car", "in the city"),
    ("flower", "in the snow"),
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
KEY, ANSWERS = "key.json", "answers.json"


def stranger_test(model_folder: str | Path, folder: Path, *, seed: int = 0) -> None:
    """`write_stranger_test` for a model by name or folder, on the test people."""
    from prefgen.pipeline import PrefGen  # pyright: ignore[reportAttributeAccessIssue]

    found = weights_folder(model_folder)
    setup = Bench(
        chain=PrefGen.from_pretrained(str(model_folder)),
        sampling=Sampling(n_steps=25),
        baselines=(found or WEIGHTS / "embedded").parent / "baselines",
    )
    write_stranger_test(setup, members_of("test"), folder, seed=seed)


def write_stranger_test(
    setup: Bench, members: Sequence[Member], folder: Path, *, n_people: int = 10, seed: int = 0, method: str = "prefgen"
) -> None:
    """Writes `history-A.png`, … and `pictures-1.png`, … in an order of their own, `key.json` with the truth, and
    `answers.json` to be filled: the letter that each number belongs to.

    Raises `InputError` for more people than there are members or letters.
    """
    if not 2 <= n_people <= min(len(members), len(LETTERS)):
        raise InputError(f"expected 2 to {min(len(members), len(LETTERS))} people, got {n_people}")
    chosen = cases_of([members[int(i)] for i in numpy_rng("stranger", seed).permutation(len(members))[:n_people]])
    tasks = [task for case in chosen for task in _tasks(case, seed)]
    made = METHODS[method](setup, **tuned_parameters(method)).paint(tasks)
    numbers = [int(k) + 1 for k in numpy_rng("stranger numbers", seed).permutation(n_people)]
    folder.mkdir(parents=True, exist_ok=True)
    for i, (case, number) in enumerate(zip(chosen, numbers)):
        strips = [
            Strip(caption="likes", pictures=case.shelf.liked, n_columns=4, frame=GREEN),
            Strip(caption="dislikes", pictures=case.shelf.disliked, n_columns=4, frame=RED),
        ]
        contact_sheet(f"Person {LETTERS[i]}", strips, width_px=640).save(folder / f"history-{LETTERS[i]}.png")
        painted = [Image.fromarray(p) for p in made[i * len(PROMPTS) : (i + 1) * len(PROMPTS)]]
        sheet = contact_sheet(f"Sheet {number}", [Strip(caption="", pictures=painted, n_columns=4)], width_px=640)
        sheet.save(folder / f"pictures-{number}.png")
    _write(folder / KEY, {"method": method, "seed": seed, "sheets": dict(sorted(zip(numbers, LETTERS)))})
    _write(folder / ANSWERS, {str(number): "" for number in sorted(numbers)})


def grade_stranger_test(folder: Path) -> dict[str, Any]:
    """How many sheets were matched: `{"method", "n", "n_right", "share", "low", "high"}`, a 95 % Wilson interval.

    Raises `DataError` where the answers are missing, are not yet filled, or name nobody of the test.
    """
    key, answers = _read(folder / KEY), _read(folder / ANSWERS)
    truth = {str(number): str(letter) for number, letter in key["sheets"].items()}
    given = {number: str(answers.get(number, "")).strip().upper() for number in truth}
    if wrong := {n: a for n, a in given.items() if a not in truth.values()}:
        raise DataError(
            f"expected one of {sorted(truth.values())} for every sheet of {ANSWERS}, got {wrong}",
            hint="look at history-*.png and pictures-*.png and fill the file",
        )
    n_right = sum(given[number] == letter for number, letter in truth.items())
    low, high = share_interval(n_right, len(truth))
    share = n_right / len(truth)
    return {"method": key["method"], "n": len(truth), "n_right": n_right, "share": share, "low": low, "high": high}


def _tasks(case: Case, seed: int) -> list[Task]:
    return [
        Task(
            case=case,
            kind="ordinary",
            prompt_index=k,
            subject=subject,
            setting=setting,
            seed=seed_of("stranger picture", seed, k) % 2**53,
        )
        for k, (subject, setting) in enumerate(PROMPTS)
    ]


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"expected a stranger's test in {path.parent}, got {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"expected an object in {path.name}, got {type(value).__name__}")
    return value
