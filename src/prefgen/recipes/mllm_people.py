"""The pictures of simulated people on which preference questions are asked: pairs from one prompt each.

Three kinds of pair: a liked and a disliked rendering (`everything`), two pictures that differ in one opinion only
(`one`), and two that oppose one aspect to all others (`aspect`: liked colours in a disliked style, and the reverse).
No two pairs of a person share a subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from prefgen.agents import (
    CONTINUOUS,
    FAMILIES,
    LOOKS,
    RESERVED_SUBJECTS,
    SETTINGS,
    SUBJECTS,
    Person,
    Scene,
    Taste,
    is_reserved,
    rendering,
    training_person,
)
from prefgen.agents.scene import painter_seed
from prefgen.core import Aspect, numpy_rng
from prefgen.recipes.mllm_paint import paint_groups

PairKind = Literal["everything", "one", "aspect"]
N_EVERYTHING, N_ONE, N_ASPECT = 10, 4, 1
N_PICTURES = 2 * (N_EVERYTHING + N_ONE + N_ASPECT)
"""Pictures per person: slot 2k is pair k's liked picture, slot 2k + 1 its disliked one."""

ASPECT_FAMILIES: dict[Aspect, tuple[str, ...]] = {
    "colours": ("palette",),
    "style": ("movement", "hand", "texture", "medium"),
    "composition": ("composition",),
}
ASPECT_TRAITS: dict[Aspect, tuple[str, ...]] = {
    "colours": ("warmth", "contrast"),
    "style": ("stroke", "density"),
    "composition": ("size", "place"),
}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A liked and a disliked picture of one prompt, at a moment of the person's history."""

    kind: PairKind
    liked: Scene
    disliked: Scene
    taste: Taste
    time: float = 1.0
    factor: str = ""
    """For `one`: the family, `look` or trait that differs. For `aspect`: the aspect."""


def _free(subject: str, values: tuple[str, ...]) -> list[str]:
    return [v for v in values if not is_reserved(subject, v)]


def _neutral(rng: np.random.Generator, taste: Taste, subject: str, family: str) -> str:
    settled = {*taste.likes.get(family, ()), *taste.dislikes.get(family, ())}
    return str(rng.choice([v for v in _free(subject, FAMILIES[family]) if v not in settled]))


def everything_pair(
    rng: np.random.Generator, taste: Taste, subject: str, setting: str | None, split: str, time: float
) -> Pair:
    """A liked and a disliked rendering that carry equally many worded values, so that counting them tells nothing."""
    liked = rendering(rng, taste, subject, setting, liked=True, seed_class=split)
    disliked = rendering(rng, taste, subject, setting, liked=False, seed_class=split)
    for _ in range(12):
        if len(disliked.values) == len(liked.values) and (disliked.look is None) == (liked.look is None):
            break
        liked = rendering(rng, taste, subject, setting, liked=True, seed_class=split)
        disliked = rendering(rng, taste, subject, setting, liked=False, seed_class=split)
    return Pair(kind="everything", liked=liked, disliked=disliked, taste=taste, time=time)


def plain_scene(rng: np.random.Generator, taste: Taste, subject: str, setting: str | None, split: str) -> Scene:
    """A picture about which the taste says nothing: neutral values and looks, undecided traits at rest."""
    families = [f for f in FAMILIES if rng.random() < 0.35]
    looks = [v for v in LOOKS if v not in (*taste.looks_liked, *taste.looks_disliked)]
    return Scene(
        subject=subject,
        setting=setting,
        values={f: _neutral(rng, taste, subject, f) for f in families},
        look=str(rng.choice(looks)) if rng.random() < 0.3 else None,
        continuous={t: 0.0 if t in taste.traits else float(rng.uniform(-1, 1)) for t in CONTINUOUS},
        seed=painter_seed(rng, split),
    )


def one_pair(rng: np.random.Generator, taste: Taste, subject: str, setting: str | None, split: str) -> Pair:
    """Two pictures equal but for one opinion: a worded value (60 %), the look or a trait (20 % each)."""
    base = plain_scene(rng, taste, subject, setting, split)
    factors = {"value": 0.6, "look": 0.2, "trait": 0.2 if taste.traits else 0.0}
    chances = np.array(list(factors.values()))
    factor = str(rng.choice(list(factors), p=chances / chances.sum()))
    if factor == "value":
        factor = str(rng.choice(taste.families()))
        good, bad = _free(subject, taste.likes.get(factor, ())), _free(subject, taste.dislikes.get(factor, ()))
        if good or bad:
            liked = str(rng.choice(good)) if good else _neutral(rng, taste, subject, factor)
            disliked = str(rng.choice(bad)) if bad else _neutral(rng, taste, subject, factor)
            changes = [{"values": {**base.values, factor: v}} for v in (liked, disliked)]
            return Pair(
                kind="one",
                liked=base.with_changes(**changes[0]),
                disliked=base.with_changes(**changes[1]),
                taste=taste,
                factor=factor,
            )
        factor = "look"
    if factor == "look":
        neutral = [v for v in LOOKS if v not in (*taste.looks_liked, *taste.looks_disliked)]
        liked = base.with_changes(look=str(rng.choice(taste.looks_liked)))
        disliked = base.with_changes(look=str(rng.choice(taste.looks_disliked or neutral)))
        return Pair(kind="one", liked=liked, disliked=disliked, taste=taste, factor="look")
    trait = str(rng.choice(list(taste.traits)))
    good_bad = [base.with_changes(continuous={**base.continuous, trait: v}) for v in taste.traits[trait]]
    return Pair(kind="one", liked=good_bad[0], disliked=good_bad[1], taste=taste, factor=trait)


def aspect_pair(rng: np.random.Generator, taste: Taste, subject: str, setting: str | None, split: str) -> Pair:
    """`liked` has what the taste likes in one aspect and dislikes elsewhere, `disliked` the reverse; equal seeds."""
    fit = [a for a, fs in ASPECT_FAMILIES.items() if any(_free(subject, taste.likes.get(f, ())) for f in fs)]
    aspect: Aspect = str(rng.choice(fit or ["style"]))  # type: ignore[assignment]
    inside = ASPECT_FAMILIES[aspect]
    base = plain_scene(rng, taste, subject, setting, split)
    sides = []
    for good_inside in (True, False):
        values = dict(base.values)
        for family in taste.families():
            opinions = taste.likes if (family in inside) == good_inside else taste.dislikes
            free = _free(subject, opinions.get(family, ()))
            values[family] = str(rng.choice(free)) if free else _neutral(rng, taste, subject, family)
        style_good = (aspect == "style") == good_inside
        looks = taste.looks_liked if style_good else taste.looks_disliked
        traits = {t: pair[0 if (t in ASPECT_TRAITS[aspect]) == good_inside else 1] for t, pair in taste.traits.items()}
        look = str(rng.choice(looks)) if looks else None
        sides.append(base.with_changes(values=values, look=look, continuous={**base.continuous, **traits}))
    return Pair(kind="aspect", liked=sides[0], disliked=sides[1], taste=taste, factor=aspect)


@lru_cache(maxsize=8192)
def pairs_of(index: int, split: str = "train") -> tuple[Person, tuple[Pair, ...]]:
    """A person of a split and all their pairs, the `everything` ones in time order; a pure function."""
    person = training_person(index, split)
    rng = numpy_rng("pairs", person.id)
    subjects = [str(s) for s in rng.permutation([s for s in SUBJECTS if s not in RESERVED_SUBJECTS])]
    pairs: list[Pair] = []
    for k in range(N_EVERYTHING + N_ONE + N_ASPECT):
        setting = str(rng.choice(SETTINGS)) if rng.random() < 0.7 else None
        time = k / (N_EVERYTHING - 1) if k < N_EVERYTHING else 1.0
        taste = person.taste_for(subjects[k], time, int(rng.integers(2)))
        if k < N_EVERYTHING:
            pairs.append(everything_pair(rng, taste, subjects[k], setting, split, time))
        elif k < N_EVERYTHING + N_ONE:
            pairs.append(one_pair(rng, taste, subjects[k], setting, split))
        else:
            pairs.append(aspect_pair(rng, taste, subjects[k], setting, split))
    return person, tuple(pairs)


def scenes_of(index: int, split: str = "train") -> list[Scene]:
    """The person's pictures slot by slot."""
    return [scene for pair in pairs_of(index, split)[1] for scene in (pair.liked, pair.disliked)]


def scenes_in(split: str) -> partial[list[Scene]]:
    """`scenes_of` for one split, importable by spawned processes."""
    return partial(scenes_of, split=split)


def people_pictures(work: Path, split: str, n_people: int) -> np.ndarray:
    """uint8 [n_people, N_PICTURES, 64, 64, 3] of a split's people, painted on first use."""
    return paint_groups(work / "people" / f"{split}.npy", scenes_in(split), n_people, N_PICTURES)
