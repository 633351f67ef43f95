"""What one picture shows: the record from which the painter paints and the captioner writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from prefgen.agents.subjects import SUBJECTS
from prefgen.agents.vocabulary import CONTINUOUS, FAMILIES, LOOKS, SETTINGS
from prefgen.core import seed_of


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture to be: subject, optional setting, worded values, wordless values, and the painter's seed.

    `values` maps a family to one of its values; a family that is absent is left plain. `look` is one of the withheld
    looks or None. `continuous` maps traits to [-1, 1]; absent traits are 0.
    """

    subject: str
    setting: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    look: str | None = None
    continuous: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def with_changes(self, **changes: object) -> Scene:
        """The same picture but for the named fields."""
        return replace(self, **changes)  # type: ignore[arg-type]


def article(noun: str) -> str:
    """`a fox`, `an owl`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def prompt_of(scene: Scene) -> str:
    """Subject and setting alone: what a person would ask for."""
    return article(scene.subject) + (f" {scene.setting}" if scene.setting else "")


def caption_of(scene: Scene, mention: Iterable[str] | None = None) -> str:
    """The prompt, then the worded values of the mentioned families (all by default), comma-separated.

    The order of the values follows `mention`; wordless traits and looks never appear.
    """
    families = scene.values if mention is None else [f for f in mention if f in scene.values]
    return ", ".join([prompt_of(scene), *(scene.values[f] for f in families)])


SEED_CLASSES = ("train", "validation", "test", "judge", "test_judge", "attributes", "other")
"""Disjoint classes of painter seeds: a picture of one class never stands in another (the seed modulo 8 tells)."""


def painter_seed(rng: np.random.Generator, seed_class: str) -> int:
    """A painter seed of a class."""
    return int(rng.integers(2**28)) * 8 + SEED_CLASSES.index(seed_class)


def is_reserved(subject: str, value: str) -> bool:
    """Whether this subject never appears with this value in any training picture (one pair in 40)."""
    return seed_of("reserved pair", subject, value) % 40 == 0


N_FAMILIES_P = (0.16, 0.19, 0.2, 0.19, 0.15, 0.08, 0.03)
"""How often a training picture has 0, 1, … 6 worded families."""


def random_scene(
    rng: np.random.Generator,
    *,
    seed_class: str,
    subjects: tuple[str, ...] = SUBJECTS,
    setting_rate: float = 0.7,
    look_rate: float = 0.4,
) -> Scene:
    """A scene for training: 0 to 6 worded families (never a reserved pair), perhaps a look, traits at random."""
    subject = str(rng.choice(subjects))
    families = rng.permutation(list(FAMILIES))[: int(rng.choice(7, p=N_FAMILIES_P))]
    values = {str(f): str(rng.choice([v for v in FAMILIES[f] if not is_reserved(subject, v)])) for f in families}
    return Scene(
        subject=subject,
        setting=str(rng.choice(SETTINGS)) if rng.random() < setting_rate else None,
        values=values,
        look=str(rng.choice(LOOKS)) if rng.random() < look_rate else None,
        continuous={name: float(rng.uniform(-1, 1)) for name in CONTINUOUS},
        seed=painter_seed(rng, seed_class),
    )
