"""A person of a folder as training material: opinions by prompt, and how they are divided into history and question.

A question never shares its picture or its prompt with the history it is asked about. Pictures without a prompt stand
for themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prefgen.core import Aspect, History, HistoryItem, Side
from prefgen.mllm import Told
from prefgen.mllm.wording import DAY_S
from prefgen.recipes.vqa_slots import sizes

MOST_PAIRS = 4
"""Pairs that one history is asked about at most."""
MOST_OPINIONS = 200
"""Opinions of one person that are learned from, the last ones: as many as a model is ever told."""


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """One picture of a person, without its pixels. `key` is its place among the features of all people."""

    key: int
    sha256: str
    side: Side
    prompt: str | None = None
    comment: str | None = None
    time_s: float | None = None
    weight: float = 1.0
    aspect: Aspect = "all"

    @property
    def group(self) -> str:
        """What may stand on one side of a question only: the prompt, or the picture where there is none."""
        prompt = " ".join((self.prompt or "").split()).casefold()
        return f"prompt {prompt}" if prompt else f"picture {self.sha256}"


@dataclass(frozen=True, kw_only=True)
class OwnPerson:
    """One person: who, and everything they said."""

    user_id: str
    opinions: tuple[Opinion, ...]

    def liked(self, groups: Collection[str] | None = None) -> list[Opinion]:
        """What is liked (in some groups)."""
        return [o for o in self.opinions if o.side == "like" and (groups is None or o.group in groups)]

    def without(self, asked: Sequence[Opinion]) -> list[Opinion]:
        """Opinions on other pictures, of other prompts."""
        groups, pictures = {o.group for o in asked}, {o.sha256 for o in asked}
        return [o for o in self.opinions if o.group not in groups and o.sha256 not in pictures]

    @property
    def can_be_asked(self) -> bool:
        """Whether a liked and a disliked picture can be asked about with something left to tell."""
        return any(self.without([good, bad]) for good in self.liked() for bad in self.opinions if bad.side == "dislike")

    @property
    def can_be_painted_for(self) -> bool:
        """Whether a liked picture can be asked for with another liked one left to tell."""
        return any(any(o.side == "like" for o in self.without([target])) for target in self.liked())


def person_of(user_id: str, items: Sequence[HistoryItem], first_key: int) -> OwnPerson:
    """A person from loaded opinions, whose features stand from `first_key` on."""
    names = [name for name in Opinion.__dataclass_fields__ if name != "key"]
    opinions = [
        Opinion(key=first_key + k, **{name: getattr(item, name) for name in names}) for k, item in enumerate(items)
    ]
    return OwnPerson(user_id=user_id, opinions=tuple(opinions))


def to_json(person: OwnPerson) -> dict[str, Any]:
    """What a cache keeps of a person."""
    return {"user_id": person.user_id, "opinions": [asdict(opinion) for opinion in person.opinions]}


def from_json(raw: dict[str, Any]) -> OwnPerson:
    """The inverse of `to_json`."""
    return OwnPerson(user_id=raw["user_id"], opinions=tuple(Opinion(**opinion) for opinion in raw["opinions"]))


def questions_for(
    rng: np.random.Generator, person: OwnPerson, most: int = MOST_PAIRS
) -> tuple[list[tuple[Opinion, Opinion]], list[Opinion]]:
    """(liked, disliked) pairs to ask about, and the opinions left to tell: those on other pictures, of other prompts.

    Pairs of one prompt where a person has any, else of any two. Half of the groups stay for the history, but for the
    first pair, which only has to leave something.
    """
    n_groups = len({o.group for o in person.opinions})
    taken: list[tuple[Opinion, Opinion]] = []
    rest = list(person.opinions)
    for pair in _pairs(rng, person):
        if len(taken) == most:
            break
        asked = [o for other in taken for o in other]
        if {o.group for o in pair} & {o.group for o in asked} or {o.sha256 for o in pair} & {o.sha256 for o in asked}:
            continue
        left = person.without([*asked, *pair])
        if left and (not taken or 2 * len({o.group for o in left}) >= n_groups):
            taken.append(pair)
            rest = left
    return taken, rest


def _pairs(rng: np.random.Generator, person: OwnPerson) -> list[tuple[Opinion, Opinion]]:
    """Candidates in random order, those of one prompt first."""
    bad = [o for o in person.opinions if o.side == "dislike"]
    both = [(a, b) for a in person.liked() for b in bad]
    shuffled = [both[int(i)] for i in rng.permutation(len(both))]
    return sorted(shuffled, key=lambda pair: pair[0].group != pair[1].group)


def some_of(rng: np.random.Generator, rest: Sequence[Opinion], most: int) -> list[Opinion]:
    """A history from what is left to tell: 1 + 0 to `most` + `most`, unbalanced too, in random order."""
    sides = [[o for o in rest if o.side == side] for side in ("like", "dislike")]
    drawn = [[side[int(i)] for i in rng.permutation(len(side))[:n]] for side, n in zip(sides, sizes(rng, most))]
    both = [*drawn[0], *drawn[1]] or [rest[int(rng.integers(len(rest)))]]
    return [both[int(i)] for i in rng.permutation(len(both))]


def as_told(opinions: Sequence[Opinion], *, prompts: bool = True, times: bool = True) -> list[Told]:
    """Opinions as told, pictures by their keys; ages count back from the newest."""
    newest = max((o.time_s for o in opinions if o.time_s is not None), default=0.0)
    return [
        Told(
            picture=o.key,
            side=o.side,
            prompt=o.prompt[:300] if prompts and o.prompt else None,
            comment=o.comment[:300] if o.comment else None,
            weight=o.weight,
            age_days=(newest - o.time_s) / DAY_S if times and o.time_s is not None else None,
            aspect=o.aspect,
        )
        for o in opinions
    ]


@dataclass(frozen=True, kw_only=True)
class PaintingCase:
    """A history, and pictures of other prompts that it should help to paint, of sides that the history tells of."""

    history: tuple[Opinion, ...]
    targets: tuple[Opinion, ...]


def painting_case(rng: np.random.Generator, person: OwnPerson, most: int) -> PaintingCase:
    """One division of a person who `can_be_painted_for`. The first target is a liked one; at most half of the groups
    are held back."""
    first = [t for t in person.liked() if any(o.side == "like" for o in person.without([t]))]
    held = [first[int(rng.integers(len(first)))]]
    n_groups = len({o.group for o in person.opinions})
    for k in rng.permutation(len(person.opinions)):
        left = person.without([*held, person.opinions[int(k)]])
        if any(o.side == "like" for o in left) and 2 * len({o.group for o in left}) >= n_groups:
            held.append(person.opinions[int(k)])
    rest = person.without(held)
    history = _both_sides(rng, rest, most)
    sides = {o.side for o in history}
    targets = [o for o in held[1:] if o.side in sides and o.key != held[0].key]
    return PaintingCase(history=tuple(history), targets=(held[0], *targets))


def _both_sides(rng: np.random.Generator, rest: Sequence[Opinion], most: int) -> list[Opinion]:
    """Up to `most` pictures a side, at least one liked, in the order in which they were met."""
    chosen: set[int] = set()
    for side, least in (("like", 1), ("dislike", 0)):
        own = [k for k, o in enumerate(rest) if o.side == side]
        n = int(rng.integers(least, most + 1))
        chosen |= {own[int(i)] for i in rng.permutation(len(own))[:n]}
    return [rest[k] for k in sorted(chosen)]


def items_of(history: History, targets: Sequence[HistoryItem]) -> list[HistoryItem]:
    """A person's opinions, and the liked pictures kept apart, each picture once; of many the last `MOST_OPINIONS`."""
    known = {item.sha256 for item in history.items}
    return [*history.items, *(item for item in targets if item.sha256 not in known)][-MOST_OPINIONS:]
