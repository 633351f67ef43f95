"""Pictures that a person truly likes or dislikes, to ask the model about: labels without noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from prefgen.agents import CONTINUOUS, FAMILIES, Scene, Taste, paint, rendering
from prefgen.agents.scene import painter_seed
from prefgen.benchmark.tasks import Case, subjects_for
from prefgen.core import numpy_rng

QueryKind = Literal["everything", "one_attribute"]


@dataclass(frozen=True, kw_only=True)
class QueryPair:
    """A liked and a disliked picture of one prompt; `axis` is the attribute in which they differ, or "everything"."""

    liked: Scene
    disliked: Scene
    axis: str

    def pictures(self) -> list[Image.Image]:
        """Liked, disliked."""
        return [Image.fromarray(paint(s)) for s in (self.liked, self.disliked)]


def axes_of(taste: Taste) -> list[str]:
    """Where a single change turns a liked picture into a disliked one: families with both, the look, each trait."""
    worded = [f for f in taste.families() if f in taste.likes and f in taste.dislikes]
    look = ["look"] if taste.looks_liked and taste.looks_disliked else []
    return [*worded, *look, *taste.traits]


def differing_in_one(rng: np.random.Generator, taste: Taste, subject: str, seed_class: str) -> QueryPair:
    """Two pictures alike but for one attribute; families without an opinion carry random values in both, families with
    one are left plain."""
    axis = str(rng.choice(axes_of(taste)))
    free = [f for f in FAMILIES if f not in taste.families() and rng.random() < 0.3]
    values = {f: str(rng.choice(FAMILIES[f])) for f in free}
    base = Scene(
        subject=subject,
        values=values,
        continuous={t: 0.0 if t in taste.traits else float(rng.uniform(-1, 1)) for t in CONTINUOUS},
        seed=painter_seed(rng, seed_class),
    )
    if axis == "look":
        sides = [{"look": str(rng.choice(side))} for side in (taste.looks_liked, taste.looks_disliked)]
    elif axis in taste.traits:
        sides = [{"continuous": {**base.continuous, axis: v}} for v in taste.traits[axis]]
    else:
        sides = [{"values": {**values, axis: str(rng.choice(side[axis]))}} for side in (taste.likes, taste.dislikes)]
    return QueryPair(liked=base.with_changes(**sides[0]), disliked=base.with_changes(**sides[1]), axis=axis)


def queries_of(case: Case, kind: QueryKind, n: int, seed: int = 0) -> list[QueryPair]:
    """`n` pairs about subjects that the history does not show."""
    rng = numpy_rng("queries", case.person.id, kind, seed)
    names = subjects_for(case, "ordinary")
    pairs: list[QueryPair] = []
    for _ in range(n):
        subject = str(names[int(rng.integers(len(names)))])
        taste = case.person.taste_for(subject, time=1.0, mode=int(rng.integers(2)))
        split = case.member.split
        if kind == "one_attribute" and axes_of(taste):
            pairs.append(differing_in_one(rng, taste, subject, split))
            continue
        liked, disliked = (rendering(rng, taste, subject, None, liked=side, seed_class=split) for side in (True, False))
        pairs.append(QueryPair(liked=liked, disliked=disliked, axis="everything"))
    return pairs
