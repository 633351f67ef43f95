"""The stage of the baselines: whatever a rival method must be trained or fitted for, on our data and rows."""

from __future__ import annotations

from prefgen.recipes.baseline_adapters import train_baselines
from prefgen.recipes.context import Context
from prefgen.recipes.easyref import train_easyref
from prefgen.recipes.text_projection import train_text_projection


def train_all_baselines(c: Context) -> None:
    """Trains every baseline that is not there yet."""
    train_baselines(c)
    train_text_projection(c)
    train_easyref(c)
