"""What if the taste depends on what is asked for: one for the living, another for things?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prefgen.agents import RESERVED_SUBJECTS, SUBJECTS, history_of
from prefgen.agents.people import LIVING
from prefgen.benchmark.ablations.asking import Sweep, Variant
from prefgen.benchmark.population import N_SHOWN
from prefgen.benchmark.tasks import Case, Shelf

_N_HISTORIES = 3
"""Histories that pictures are taken from: each is of one kind of subject alone."""


def shows_kind(*, same: bool) -> Callable[[Case, str], Case]:
    """Pictures of living subjects alone for who is asked for one, of things for who is asked for a thing; `same` False
    turns it round."""

    def shows(case: Case, subject: str) -> Case:
        living = (subject in LIVING) == same
        names = tuple(s for s in SUBJECTS if (s in LIVING) == living and s not in RESERVED_SUBJECTS and s != subject)
        split = case.member.split
        parts = (
            history_of(case.person, seed_class=split, tag=f"kind {k}", subjects=names) for k in range(_N_HISTORIES)
        )
        pool = [shown for part in parts for shown in part]
        shown = tuple(s for side in (True, False) for s in [p for p in pool if p.liked == side][:N_SHOWN])
        return replace(case, shelf=Shelf(owner=case.shelf.owner, shown=shown))

    return shows


SUBJECT_TASTE = Sweep(
    name="subject_taste",
    title="What if taste depends on what is asked for? (people with one taste for the living and one for things)",
    variants=(
        Variant(label="pictures of its kind", shows=shows_kind(same=True)),
        Variant(label="of both kinds"),
        Variant(label="of the other kind", shows=shows_kind(same=False)),
    ),
    reference="of both kinds",
    people=lambda asking: asking.people_of_kind("subject_dependent"),
)
