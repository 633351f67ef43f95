"""`prefgen train`: all stages in order; whatever is done is skipped, whatever was broken off is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from prefgen.core import ConfigError, nearest_hint
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Deadline, Unfinished
from prefgen.recipes.presets import Preset


def stages() -> dict[str, Callable[[Context], None]]:
    """Every stage by name, in the order in which they must run."""
    from prefgen.recipes.autoencoder import train_autoencoder

    return {"autoencoder": train_autoencoder}


def train(
    preset: Preset, *, work: Path, out: Path, only: str | None = None, max_minutes: float | None = None
) -> bool:
    """Runs the stages (or one of them). Returns whether everything asked for is done."""
    table = stages()
    if only is not None and only not in table:
        raise ConfigError(f"expected a stage of {list(table)}, got {only!r}", hint=nearest_hint(only, table))
    context = Context(preset=preset, work=work, out=out, deadline=Deadline(minutes=max_minutes))
    work.mkdir(parents=True, exist_ok=True)
    for name, stage in table.items():
        if only is None or name == only:
            try:
                stage(context)
            except Unfinished as stop:
                context.say(f"time is up: {stop}; the same command resumes")
                return False
    return True
