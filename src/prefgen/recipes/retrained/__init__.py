"""Ablations that need training: the user encoder anew, in a minute or two, on cached features; all else stays."""

from __future__ import annotations

from prefgen.recipes.retrained.mixes import bench_mixes
from prefgen.recipes.retrained.run import N_USERS, retrain
from prefgen.recipes.retrained.variants import VARIANTS, Variant

__all__ = ["N_USERS", "VARIANTS", "Variant", "bench_mixes", "retrain"]
