"""Small studies of plain colours, and raters who answer them by rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from prefgen.study import Answer, Asked, Key, Pair, Pairs, Study, make_study, read_key
from prefgen.study.records import ANSWERS

Choose = Callable[[str, Asked], str]


def picture(*parts: int) -> Image.Image:
    """8 × 8 pixels of a colour for each tuple of numbers, none of them plain."""
    rng = np.random.default_rng(parts)
    return Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))


def pairs(n: int = 12, *, a: str = "secret-alpha", b: str = "secret-beta", n_people: int = 3) -> Pairs:
    """`n` pairs for people with two liked pictures and one disliked; for nobody if there are none."""
    people = [f"person-{k}-of-the-run" for k in range(n_people)]
    made = tuple(
        Pair(
            source=f"source-{i}",
            a=picture(0, i),
            b=picture(1, i),
            prompt=f"a fox number {i}",
            person=people[i % n_people] if people else None,
        )
        for i in range(n)
    )
    liked = {p: (picture(2, k), picture(3, k)) for k, p in enumerate(people)}
    return Pairs(a=a, b=b, pairs=made, liked=liked, disliked={p: (picture(4, k),) for k, p in enumerate(people)})


def new_study(folder: Path, n: int = 12, *, seed: int = 0, n_checks: int = 2, **given) -> tuple[Study, Key]:
    """A study of `pairs`, and its key."""
    study = make_study(pairs(n, **given), folder, seed=seed, n_checks=n_checks)
    return study, read_key(folder, study)


def write_answers(folder: Path, study: Study, answers: Iterable[Answer]) -> None:
    """Appends answers as the server does, all at once."""
    with (folder / ANSWERS).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"study": study.id, **asdict(answer)}) + "\n" for answer in answers)


def answer_all(folder: Path, study: Study, key: Key, rater: str, choose: Choose, *, attentive: bool = True) -> None:
    """A rater answers every question: checks rightly or wrongly, pairs as `choose(question, truth)` says."""
    other = {"left": "right", "right": "left"}
    choices = {
        name: (asked.side if attentive else other[asked.side]) if asked.kind == "check" else choose(name, asked)
        for name, asked in key.questions.items()
    }
    write_answers(folder, study, [Answer(rater=rater, question=q, choice=c, time_s=1.0) for q, c in choices.items()])
