"""The pictures of simulated people as a history tells them: which slots, in which order, under which labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefgen.agents import FAMILIES, Scene, Taste, prompt_of
from prefgen.core import Side
from prefgen.mllm import Told
from prefgen.recipes.mllm_people import N_PICTURES, pairs_of

YEARS_DAYS = 730.0
"""Days from the first to the last picture of a timed history."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One picture of the population: person and slot, with what it shows and the opinion behind it."""

    person: int
    slot: int
    scene: Scene
    taste: Taste
    liked: bool
    time: float

    @property
    def key(self) -> int:
        """The row of this picture in the population's feature file."""
        return self.person * N_PICTURES + self.slot


def slots_of(index: int, split: str, numbers: Sequence[int]) -> list[tuple[Slot, Slot]]:
    """(liked, disliked) slots of some of a person's pairs."""
    pairs = pairs_of(index, split)[1]

    def slot(k: int, liked: bool) -> Slot:
        pair = pairs[k]
        scene = pair.liked if liked else pair.disliked
        return Slot(person=index, slot=2 * k + (not liked), scene=scene, taste=pair.taste, liked=liked, time=pair.time)

    return [(slot(k, True), slot(k, False)) for k in numbers]


def opinions_in(slot: Slot, side: Side) -> list[str]:
    """The worded values of the picture that its taste likes (or dislikes), in the vocabulary's order."""
    held = slot.taste.likes if side == "like" else slot.taste.dislikes
    return [slot.scene.values[f] for f in FAMILIES if slot.scene.values.get(f) in held.get(f, ())]


def sizes(rng: np.random.Generator, most: int) -> tuple[int, int]:
    """How many liked and disliked pictures: from 1 + 0 to `most` + `most`, unbalanced too, often 4 + 4."""
    if rng.random() < 0.25:
        return min(4, most), min(4, most)
    n_like, n_dislike = int(rng.integers(0, most + 1)), int(rng.integers(0, most + 1))
    return (n_like, n_dislike) if n_like + n_dislike else (1, 0)


def chosen_slots(rng: np.random.Generator, pairs: list[tuple[Slot, Slot]], n_like: int, n_dislike: int) -> list[Slot]:
    """Liked and disliked pictures from the pairs, each side drawn on its own, in one shuffled order."""
    liked = [pairs[int(i)][0] for i in rng.permutation(len(pairs))[:n_like]]
    disliked = [pairs[int(i)][1] for i in rng.permutation(len(pairs))[:n_dislike]]
    both = liked + disliked
    return [both[int(i)] for i in rng.permutation(len(both))]


def told(
    rng: np.random.Generator,
    slots: list[Slot],
    *,
    flipped: float,
    prompts: bool = False,
    timed: bool = False,
    comments: float = 0.0,
    weight: float | None = None,
) -> list[Told]:
    """Slots as told pictures. A flipped label is told without a comment; picture and label move together."""
    items = []
    for slot in slots:
        wrong = bool(rng.random() < flipped)
        liked = slot.liked != wrong
        named = opinions_in(slot, "like" if slot.liked else "dislike")
        comment = None
        if named and not wrong and rng.random() < comments:
            comment = _comment(rng, [str(v) for v in rng.permutation(named)[: int(rng.integers(1, 3))]], liked)
        items.append(
            Told(
                picture=slot.key,
                side="like" if liked else "dislike",
                prompt=prompt_of(slot.scene) if prompts else None,
                comment=comment,
                weight=1.0 if weight is None else weight,
                age_days=(1 - slot.time) * YEARS_DAYS if timed else None,
            )
        )
    return items


def _comment(rng: np.random.Generator, words: list[str], liked: bool) -> str:
    forms = ("I love the {}", "great {}", "{}") if liked else ("I hate the {}", "too much {}", "no {}")
    return str(rng.choice(forms)).format(" and ".join(words))


def told_sides(items: Sequence[Told], first: Side = "like") -> tuple[Side, ...]:
    """The sides of a history's pictures in the order of `history_parts`."""
    return tuple(sorted((item.side for item in items), key=lambda side: side != first))
