"""`prefgen train`: all stages in order; whatever is done is skipped, whatever was broken off is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from prefgen.core import ConfigError, nearest_hint
from prefgen.recipes.context import Context
from prefgen.recipes.finish import finish_model
from prefgen.recipes.loop import Deadline, Unfinished
from prefgen.recipes.presets import Preset


def stages() -> dict[str, Callable[[Context], None]]:
    """Every stage by name, in the order in which they must run."""
    from prefgen.recipes.adapters import train_adapter
    from prefgen.recipes.autoencoder import train_autoencoder
    from prefgen.recipes.baseline_adapters import train_baselines
    from prefgen.recipes.clip import train_clip
    from prefgen.recipes.generator import train_generator
    from prefgen.recipes.judges import train_judges
    from prefgen.recipes.mllm_pretrain import mllm_pretrain
    from prefgen.recipes.preference_vqa import preference_vqa
    from prefgen.recipes.probe import probe_layers

    return {
        "autoencoder": train_autoencoder,
        "clip": train_clip,
        "generator": train_generator,
        "mllm": mllm_pretrain,
        "preferences": preference_vqa,
        "probes": probe_layers,
        "adapter": train_adapter,
        "baselines": train_baselines,
        "judges": train_judges,
        "finish": finish_model,
    }


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
