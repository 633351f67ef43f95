"""Is anything else understood when all pictures have the same colours?

All shown pictures are given one palette, liked and disliked alike, and opinions on palettes are no longer counted: what
is left of the taste should be understood as well as before.
"""

from __future__ import annotations

from dataclasses import replace

from prefgen.agents import FAMILIES, Person, Taste, is_reserved
from prefgen.benchmark.ablations.asking import Sweep, Variant
from prefgen.benchmark.tasks import Case, Shelf
from prefgen.core import numpy_rng

PALETTE = "palette"


def _colourless(taste: Taste) -> Taste:
    sides = {side: {f: v for f, v in getattr(taste, side).items() if f != PALETTE} for side in ("likes", "dislikes")}
    return replace(taste, **sides)


def without_opinion(person: Person) -> Person:
    """The same person, indifferent to palettes."""
    return replace(person, tastes=tuple(_colourless(taste) for taste in person.tastes))


def indifferent(case: Case, _: str) -> Case:
    """Judged without opinions on palettes; shows the usual pictures."""
    return replace(case, member=replace(case.member, person=without_opinion(case.person)))


def in_one_palette(case: Case, subject: str) -> Case:
    """The same, and every picture shown has one palette."""
    rng = numpy_rng("one palette", case.person.id)
    free = [v for v in FAMILIES[PALETTE] if not any(is_reserved(s.scene.subject, v) for s in case.shelf.shown)]
    palette = str(rng.choice(free or list(FAMILIES[PALETTE])))
    shown = tuple(
        replace(s, scene=s.scene.with_changes(values={**s.scene.values, PALETTE: palette})) for s in case.shelf.shown
    )
    return replace(indifferent(case, subject), shelf=Shelf(owner=case.shelf.owner, shown=shown))


FIXED_PALETTE = Sweep(
    name="fixed_palette",
    title="Is the rest understood when every picture has the same colours? (opinions on palettes not counted)",
    variants=(
        Variant(label="their own palettes", shows=indifferent),
        Variant(label="one palette in all", shows=in_one_palette),
    ),
    reference="their own palettes",
)
