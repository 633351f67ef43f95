"""`prefgen train`: all stages in order; whatever is done is skipped, whatever was broken off is resumed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from prefgen.core import ConfigError, nearest_hint
from prefgen.recipes import ranks
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Deadline, Unfinished
from prefgen.recipes.presets import Preset
from prefgen.recipes.start import begin_from

STAGES: dict[str, tuple[str, str]] = {
    "autoencoder": ("autoencoder", "train_autoencoder"),
    "clip": ("clip", "train_clip"),
    "vision": ("vision", "train_vision"),
    "generator": ("generator", "train_generator"),
    "mllm": ("mllm_pretrain", "train_mllm_pretrain"),
    "preferences": ("preference_vqa", "train_preference_vqa"),
    "probes": ("probe", "probe_layers"),
    "evidence": ("taste_evidence", "train_evidence"),
    "adapter": ("adapters", "train_adapter"),
    "baselines": ("baselines", "train_all_baselines"),
    "judges": ("judges", "train_judges"),
    "finish": ("finish", "finish_model"),
}
"""Every stage in the order in which they must run: (recipe file, function). Imported when its turn comes."""
WITHOUT_LOOP = ("probes", "finish")
"""Stages that train nothing: the first of several processes runs them while the others wait."""


def stage_named(name: str) -> Callable[[Context], None]:
    """A stage's function."""
    module, function = STAGES[name]
    return getattr(import_module(f"prefgen.recipes.{module}"), function)


def train(
    preset: Preset,
    *,
    work: Path,
    out: Path,
    only: str | None = None,
    max_minutes: float | None = None,
    start: Path | None = None,
    n_processes: int | None = None,
) -> bool:
    """Runs the stages (or one of them). Returns whether everything asked for is done.

    With `start`, a finished model's folder, its parts are taken over; vision tower, generator, adapter, baselines and
    judges train on from its weights. `n_processes` is how many a launcher was asked for (torchrun, accelerate): another
    number than there are is an error. They need one file system, on which only the first one writes.
    """
    if only is not None and only not in STAGES:
        raise ConfigError(f"expected a stage of {list(STAGES)}, got {only!r}", hint=nearest_hint(only, STAGES))
    context = Context(preset=preset, work=work, out=out, deadline=Deadline(minutes=max_minutes), start=start)
    with ranks.joined(n_processes):
        if ranks.is_first():
            work.mkdir(parents=True, exist_ok=True)
            if start is not None:
                begin_from(start, out)
        ranks.wait()
        return all(_done(name, context) for name in STAGES if only is None or name == only)


def _done(name: str, context: Context) -> bool:
    """Runs one stage on every process; whether it is done."""
    try:
        if name not in WITHOUT_LOOP:
            stage_named(name)(context)
        elif ranks.is_first():
            with ranks.alone():
                stage_named(name)(context)
    except Unfinished as stop:
        context.say(f"time is up: {stop}; the same command resumes")
        return False
    ranks.wait()
    return True
