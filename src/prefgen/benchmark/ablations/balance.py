"""Likes, dislikes, or both? Eight pictures of different balance, and either side alone."""

from __future__ import annotations

from prefgen.benchmark.ablations.asking import Sweep, Variant
from prefgen.benchmark.ablations.shelves import latest

BALANCES = ((8, 0), (6, 2), (4, 4), (2, 6), (0, 8), (4, 0), (0, 4))

BALANCE = Sweep(
    name="balance",
    title="Likes, dislikes, or both? (so many likes + so many dislikes)",
    variants=tuple(Variant(label=f"{a} + {b}", shows=latest(a, b)) for a, b in BALANCES),
    reference="4 + 4",
)
