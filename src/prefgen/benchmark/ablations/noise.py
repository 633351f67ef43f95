"""What do slips of the hand cost? Exactly so many of eight labels are wrong."""

from __future__ import annotations

from prefgen.benchmark.ablations.asking import Sweep, Variant
from prefgen.benchmark.ablations.shelves import mislabelled

NOISE = Sweep(
    name="noise",
    title="What do wrong labels cost? (of 4 + 4 pictures)",
    variants=tuple(Variant(label=f"{n} wrong", x=n, shows=mislabelled(n)) for n in range(5)),
    reference="0 wrong",
)
