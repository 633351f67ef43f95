"""The verb that trains."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli.options import Json
from prefgen.cli.output import emit, log_to_stderr


def train(
    preset: Annotated[str, typer.Option("--preset", help="The size: tiny (minutes), embedded (what ships).")] = "tiny",
    stage: Annotated[str | None, typer.Option("--stage", help="Only this stage.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", min=0, help="Stop and save then; the same command resumes.")
    ] = None,
    work: Annotated[Path | None, typer.Option("--work", help="Checkpoints and caches (default: runs/PRESET).")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The model folder (default: runs/PRESET/model).")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start", help="A finished model (embedded, a folder) whose tower, generator, adapters and judges go on."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A number of the preset, as NAME=VALUE; may be given again.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            help="How many processes the launcher was asked for: refuse to run with another number.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    json_: Json = False,
) -> None:
    """Train the whole chain, stage by stage. What is done is skipped, what was broken off is resumed.

    On several processes: torchrun --nproc_per_node N -m prefgen train ... (docs/scale.md).
    """
    log_to_stderr()
    from prefgen.core import ConfigError, nearest_hint
    from prefgen.pipeline.loading import folder_of
    from prefgen.recipes.presets import preset_named
    from prefgen.recipes.ranks import is_first
    from prefgen.recipes.train import STAGES
    from prefgen.recipes.train import train as run

    size = preset_named(preset).with_settings(settings or [])
    work = work or Path("runs") / preset
    out = out or work / "model"
    names = list(STAGES)
    if stage is not None and stage not in names:
        raise ConfigError(f"expected a stage of {', '.join(names)}, got {stage!r}", hint=nearest_hint(stage, names))
    plan = {"preset": asdict(size), "stages": [stage] if stage else names, "work": str(work), "out": str(out)}
    if dry_run:
        lines = [f"{name}: {value}" for name, value in {**plan, **asdict(size)}.items() if name != "preset"]
        emit({**plan, "dry_run": True}, as_json=json_, lines=lines)
        return
    begin = None if start is None else folder_of(start)
    done = run(size, work=work, out=out, only=stage, max_minutes=max_minutes, start=begin, n_processes=processes)
    if not is_first():
        return
    emit({**plan, "done": done}, as_json=json_, lines=["done" if done else "unfinished: the same command resumes"])
