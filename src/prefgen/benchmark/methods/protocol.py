"""What every method is: a name, what it must be given, what it costs, and how it paints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from prefgen.benchmark.chain import Chain, Sampling
from prefgen.benchmark.tasks import Task

Need = Literal["images", "dislikes", "comments", "prompts", "words", "truth", "training", "fitting"]
"""`images`: liked pictures; `dislikes`: disliked ones too; `comments`: what the person wrote of each picture;
`prompts`: what each was asked for with (subject and setting, no word of style); `words`: the taste in words; `truth`:
what only a simulation knows; `training`: weights of its own, made once for everybody; `fitting`: training of its own
for every person."""
NEEDS: tuple[Need, ...] = get_args(Need)


class Method(Protocol):
    """One way of painting for a person."""

    @property
    def name(self) -> str:
        """The row's name."""
        ...

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the method must be given beyond prompt and seed."""
        ...

    @property
    def training_minutes_per_person(self) -> float:
        """Minutes of training that each new person costs before their first picture; 0 where people are only read."""
        ...

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One uint8 [64, 64, 3] picture a task, each decided by its own task alone."""
        ...


@runtime_checkable
class FitsEachPerson(Protocol):
    """A method that trains for every person, and says how long."""

    training_seconds: list[float]
    """Seconds of each training of this run."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What methods are built from."""

    chain: Chain
    sampling: Sampling
    baselines: Path
    """Folder with the weights of the rivals that need training, one folder a method."""


class NotRun(Exception):
    """Raised by a method's maker when the method cannot run here; the message says why ("because …")."""


Parameters = Mapping[str, float]
"""Tuned numbers of one method, by name."""
