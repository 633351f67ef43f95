"""A person to be predicted: pairs they have chosen from, and pairs they are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

Pair = tuple[Image.Image, Image.Image]
N_REFERENCES: tuple[int, ...] = (0, 1, 2, 4, 8)
"""How many reference pairs a predictor is shown; the fewer are always among the more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """`references` are (chosen, rejected) pairs, at least as many as are ever shown. Of the pairs of `questions`,
    `first_chosen` bool [n] says whether the person chose the first. `crowd` float [n] is the share of other people who
    did (a tie counts one half), where other people can be asked."""

    person: str
    references: Sequence[Pair]
    questions: Sequence[Pair]
    first_chosen: np.ndarray
    crowd: np.ndarray | None = None

    @cached_property
    def pictures(self) -> list[Image.Image]:
        """The pictures of all questions: first, second, first, …"""
        return [picture for pair in self.questions for picture in pair]


def in_random_order(rng: np.random.Generator, chosen_first: Sequence[Pair]) -> tuple[list[Pair], np.ndarray]:
    """Pairs (chosen, rejected) so turned that nothing but the pictures tells which is which; bool [n] says where the
    chosen one still comes first."""
    first = rng.random(len(chosen_first)) < 0.5
    return [(a, b) if kept else (b, a) for (a, b), kept in zip(chosen_first, first)], first
