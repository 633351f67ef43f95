"""How many pictures does it take?"""

from __future__ import annotations

from prefgen.benchmark.ablations.asking import Sweep, Variant
from prefgen.benchmark.ablations.shelves import latest

SIZES = ((1, 0), (1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (8, 8))

HISTORY_SIZE = Sweep(
    name="history_size",
    title="How many pictures does it take? (1 like, then as many likes as dislikes)",
    variants=tuple(Variant(label=f"{a} + {b}", x=a + b, shows=latest(a, b)) for a, b in SIZES),
    reference="4 + 4",
)
