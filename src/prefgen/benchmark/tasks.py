"""What every method is asked: a person's few labelled pictures, a prompt, a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from PIL import Image

from prefgen.agents import (
    RESERVED_SUBJECTS,
    SETTINGS,
    SUBJECTS,
    Person,
    Scene,
    Shown,
    is_reserved,
    paint,
    prompt_of,
)
from prefgen.benchmark.population import N_SHOWN, Member
from prefgen.core import History, HistoryItem, numpy_rng, seed_of

TaskKind = Literal["ordinary", "reserved_subject", "reserved_pair"]
TASK_KINDS: tuple[TaskKind, ...] = ("ordinary", "reserved_subject", "reserved_pair")


@dataclass(frozen=True, kw_only=True, eq=False)
class Shelf:
    """Labelled pictures as a method is handed them."""

    owner: str
    shown: tuple[Shown, ...]

    @cached_property
    def pictures(self) -> tuple[Image.Image, ...]:
        """The pictures, painted on first use."""
        return tuple(Image.fromarray(paint(s.scene)) for s in self.shown)

    @property
    def liked(self) -> list[Image.Image]:
        """Pictures labelled as liked."""
        return [p for p, s in zip(self.pictures, self.shown) if s.liked]

    @property
    def disliked(self) -> list[Image.Image]:
        """Pictures labelled as disliked."""
        return [p for p, s in zip(self.pictures, self.shown) if not s.liked]

    def as_meant(self) -> Shelf:
        """The same pictures with the labels their owner meant."""
        return replace(self, shown=tuple(replace(s, liked=s.truly_liked) for s in self.shown))

    def history(self, *, with_prompts: bool = True, span_s: float | None = None) -> History:
        """The same as a history record, likes first as `profile` orders them; with `span_s`, the seconds between the
        first and the last moment of the person's history, every picture is dated."""
        both = sorted(zip(self.pictures, self.shown), key=lambda pair: not pair[1].liked)
        return History(
            items=tuple(
                HistoryItem(
                    image=picture,
                    side="like" if shown.liked else "dislike",
                    prompt=prompt_of(shown.scene) if with_prompts else None,
                    time_s=None if span_s is None else span_s * shown.time,
                )
                for picture, shown in both
            )
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One person of the run: who they are (for oracles and judges only), their shelf, and a stranger's."""

    user: int
    member: Member
    shelf: Shelf
    stranger: Shelf

    @property
    def person(self) -> Person:
        """The simulated person."""
        return self.member.person


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One picture to be made."""

    case: Case
    kind: TaskKind
    prompt_index: int
    subject: str
    setting: str | None
    seed: int

    @property
    def prompt(self) -> str:
        """The prompt: subject and setting alone."""
        return prompt_of(Scene(subject=self.subject, setting=self.setting))


def shelf_of(member: Member, n_each: int = N_SHOWN) -> Shelf:
    """The latest `n_each` pictures labelled as liked and the latest `n_each` labelled as disliked, in time order.

    The latest, since tastes drift; for a steady person it is a choice like any other.
    """
    history = member.history()
    picked = [i for side in (True, False) for i in [j for j, s in enumerate(history) if s.liked == side][-n_each:]]
    return Shelf(owner=member.person.id, shown=tuple(history[i] for i in sorted(picked)))


def cases_of(members: Sequence[Member], n_each: int = N_SHOWN) -> list[Case]:
    """A case for each member; the stranger is the member half-way round, of another cluster where there is one."""
    shelves = [shelf_of(m, n_each) for m in members]
    return [
        Case(user=i, member=m, shelf=shelves[i], stranger=shelves[_stranger(members, i)]) for i, m in enumerate(members)
    ]


def _stranger(members: Sequence[Member], i: int) -> int:
    n = len(members)
    order = [(i + n // 2 + k) % n for k in range(n)]
    others = [j for j in order if j != i and members[j].person.cluster != members[i].person.cluster]
    return (others or [j for j in order if j != i] or [i])[0]


def _liked_values(person: Person) -> set[str]:
    return {v for t in person.current_tastes() for values in t.likes.values() for v in values}


def subjects_for(case: Case, kind: TaskKind) -> list[str]:
    """Subjects that do not stand in the history.

    Reserved subjects are those no preference stage trains on; a reserved pair is a subject that no training picture
    shows with some value this person likes. Ordinary prompts are neither.
    """
    shown = {s.scene.subject for s in case.member.history()}
    free = [s for s in SUBJECTS if s not in shown]
    if kind == "reserved_subject":
        return [s for s in free if s in RESERVED_SUBJECTS]
    liked = _liked_values(case.person)
    paired = kind == "reserved_pair"
    return [s for s in free if s not in RESERVED_SUBJECTS and any(is_reserved(s, v) for v in liked) == paired]


def tasks_of(cases: Sequence[Case], *, n_prompts: int, n_seeds: int, n_reserved: int = 0, seed: int = 0) -> list[Task]:
    """For each case `n_prompts` ordinary prompts with `n_seeds` seeds each, and `n_reserved` prompts of each reserved
    kind with one seed each. All methods get the same prompts and seeds; a case's tasks stand together.
    """
    amounts: tuple[tuple[TaskKind, int, int], ...] = (
        ("ordinary", n_prompts, n_seeds),
        ("reserved_subject", n_reserved, 1),
        ("reserved_pair", n_reserved, 1),
    )
    tasks: list[Task] = []
    for case in cases:
        for kind, n, n_pictures in amounts:
            rng = numpy_rng("bench prompts", case.person.id, kind, seed)
            for p, subject in enumerate(rng.permutation(subjects_for(case, kind))[:n]):
                setting = str(rng.choice(SETTINGS)) if rng.random() < 0.7 else None
                tasks += [
                    Task(
                        case=case,
                        kind=kind,
                        prompt_index=p,
                        subject=str(subject),
                        setting=setting,
                        seed=seed_of("bench picture", seed, case.person.id, kind, p, k) % 2**53,
                    )
                    for k in range(n_pictures)
                ]
    return tasks


def mask_of(tasks: Sequence[Task], kind: TaskKind) -> np.ndarray:
    """bool [n]: which tasks are of a kind."""
    return np.array([t.kind == kind for t in tasks], dtype=bool)
