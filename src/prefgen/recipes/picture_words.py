"""The words that training pictures carry, as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prefgen.agents import FAMILIES, SETTINGS, SUBJECTS, Scene
from prefgen.recipes.ranks import by_turns

CHOICES: dict[str, tuple[str, ...]] = {"subject": tuple(SUBJECTS), "setting": SETTINGS, **FAMILIES}


def words_in(scene: Scene) -> list[int]:
    """For each of `CHOICES` the word's number, 0 where the picture has none."""
    told = {"subject": scene.subject, "setting": scene.setting, **scene.values}
    return [(None, *words).index(told.get(name)) for name, words in CHOICES.items()]


@by_turns
def cached_words(path: Path, n: int, row: Any) -> np.ndarray:
    """int16 [n, ..., n_choices] of `row(i)`, computed once."""
    if path.exists() and len(known := np.load(path)) >= n:
        return known[:n]
    path.parent.mkdir(parents=True, exist_ok=True)
    made = np.array([row(i) for i in range(n)], dtype=np.int16)
    np.save(path, made)
    return made
