"""The people that preference stages train on: their histories' pictures, and pictures they would love or hate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from prefgen.agents.people import Person, Shown, history_of, random_prompt, rendering, training_person
from prefgen.agents.scene import Scene
from prefgen.core import numpy_rng
from prefgen.recipes.context import Context
from prefgen.recipes.pictures import paint_rows

N_HISTORY = 24
"""Columns for a history (8 to 14 likes, 4 to 10 dislikes)."""
N_LIKED_TARGETS, N_DISLIKED_TARGETS = 5, 3
N_COLUMNS = N_HISTORY + N_LIKED_TARGETS + N_DISLIKED_TARGETS


@dataclass(frozen=True, kw_only=True)
class PersonPictures:
    """A person with every scene painted for them. Column j of the picture array shows `scenes[j]`.

    `history` columns come first, then liked targets, then disliked ones: true renderings by the person's present
    taste, of prompts whose subjects the history does not hold.
    """

    person: Person
    history: tuple[Shown, ...]
    liked: tuple[Scene, ...]
    disliked: tuple[Scene, ...]

    @property
    def scenes(self) -> list[Scene | None]:
        """All scenes by column; None where a history is shorter than its columns."""
        blank = [None] * (N_HISTORY - len(self.history))
        return [*(s.scene for s in self.history), *blank, *self.liked, *self.disliked]


@lru_cache(maxsize=20_000)
def person_pictures(index: int, split: str, seed: int = 0) -> PersonPictures:
    """The index-th person of a split with history and targets: a pure function."""
    person = training_person(index, split if seed == 0 else f"{split}.{seed}")
    history = history_of(person, seed_class=split)[:N_HISTORY]
    used = {shown.scene.subject for shown in history}
    rng = numpy_rng("targets", person.id)

    def targets(liked: bool, n: int) -> tuple[Scene, ...]:
        made: list[Scene] = []
        while len(made) < n:
            subject, setting = random_prompt(rng)
            if subject not in used:
                taste = person.taste_for(subject, 1.0, int(rng.integers(2)))
                made.append(rendering(rng, taste, subject, setting, liked=liked, seed_class=split))
        return tuple(made)

    return PersonPictures(
        person=person,
        history=history,
        liked=targets(True, N_LIKED_TARGETS),
        disliked=targets(False, N_DISLIKED_TARGETS),
    )


def _scenes(index: int, *, split: str, seed: int) -> list[Scene | None]:
    return person_pictures(index, split, seed).scenes


def population(c: Context, split: str = "train") -> np.ndarray:
    """uint8 [n_users, N_COLUMNS, 64, 64, 3]: the split's people, painted on first use."""
    n = c.preset.n_users if split == "train" else max(16, c.preset.n_users // 25)
    row = partial(_scenes, split=split, seed=c.preset.seed)
    return paint_rows(c.work / "pictures", f"people-{split}", n, N_COLUMNS, row, seed=c.preset.seed)
