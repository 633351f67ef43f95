"""What if someone dislikes the very style they like?"""

from __future__ import annotations

from prefgen.benchmark.ablations.asking import Sweep, Variant
from prefgen.benchmark.ablations.shelves import contradicted

CONTRADICTION = Sweep(
    name="contradiction",
    title="What if dislikes contradict likes? (so many of 4 disliked pictures are in the style of a liked one)",
    variants=tuple(Variant(label=f"{n} of 4", x=n, shows=contradicted(n)) for n in range(5)),
    reference="0 of 4",
)
