"""`prefgen train --people`: a finished model trained on with a folder of people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from prefgen.cli.output import emit


def train_on_people_of(
    folder: Path,
    start: str | None,
    preset: str,
    settings: Sequence[str] | None,
    refused: dict[str, object],
    *,
    work: Path | None,
    out: Path | None,
    max_minutes: float | None,
    dry_run: bool,
    as_json: bool,
    processes: int | None = None,
) -> None:
    """Trains, or says what would be done and whether there are people enough; figures before and after go to stdout.

    Raises:
        ConfigError: one of the `refused` options was given.
        DataError: there are too few people, or their folder is damaged.
    """
    from prefgen.core import ConfigError
    from prefgen.recipes.full_presets import FULL_PRESETS
    from prefgen.recipes.own_data.planning import check_enough, plan_of
    from prefgen.recipes.own_data.report import lines_of
    from prefgen.recipes.own_data.run import train_on_people
    from prefgen.recipes.own_data.settings import own_data_preset_named
    from prefgen.recipes.presets import typed_settings
    from prefgen.recipes.ranks import is_first

    if given := [name for name, value in refused.items() if value is not None]:
        raise ConfigError(f"expected no {given[0]} with --people", hint="--set preference_samples=0 leaves a stage out")
    size = own_data_preset_named(preset, FULL_PRESETS)
    size = size.with_overrides(**typed_settings(size, settings or []))
    work = work or Path("runs") / f"people-{preset}"
    out = out or work / "model"
    plan = {"preset": asdict(size), "people": str(folder), "start": start or "embedded"}
    plan |= {"work": str(work), "out": str(out)}
    if dry_run:
        counts = plan_of(folder)
        lines = [f"{name}: {value}" for name, value in {**plan, **asdict(size)}.items() if name != "preset"]
        lines += [f"{split}: {_counted(asdict(n))}" for split, n in counts.items()]
        told = {split: asdict(n) for split, n in counts.items()}
        emit({**plan, "counts": told, "dry_run": True}, as_json=as_json, lines=lines)
        check_enough(counts, size, folder)
        return
    run = {"work": work, "out": out, "max_minutes": max_minutes, "n_processes": processes}
    report = train_on_people(folder, start or "embedded", size, **run)
    if not is_first():
        return
    if report is None:
        emit({**plan, "done": False}, as_json=as_json, lines=["unfinished: the same command resumes"])
        return
    lines = [*lines_of(report["figures"]), f"{out} is ready: prefgen generate --model {out} ..."]
    emit({**plan, "done": True, "report": report}, as_json=as_json, lines=lines)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
