"""The verb that trains."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.cli.full_training import train_full_preset
from prefgen.cli.options import Json, given_path
from prefgen.cli.output import emit, log_to_stderr
from prefgen.cli.own_training import train_on_people_of


def train(
    preset: Annotated[
        str, typer.Option("--preset", help="tiny (minutes), embedded (what ships), or BACKBONE-MLLM.")
    ] = "tiny",
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
    people: Annotated[
        Path | None,
        typer.Option(
            "--people",
            parser=given_path,
            metavar="FOLDER",
            help="A folder of people (prefgen data) to learn from.",
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
    shard: Annotated[
        bool,
        typer.Option("--shard", help="Cut weights over the processes (FSDP2), in a full preset."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    vram_gb: Annotated[
        float | None, typer.Option("--vram-gb", min=0, help="The card's memory; refuse what does not fit.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Samples a step, in a full preset.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="float32, float16 or bf16, in a full preset.")] = None,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option("--gradient-checkpointing/--no-gradient-checkpointing", help="In a full preset.")
    ] = None,
    load_4bit: Annotated[
        bool | None, typer.Option("--load-4bit/--no-load-4bit", help="Frozen weights in four bits, in a full preset.")
    ] = None,
    json_: Json = False,
) -> None:
    """Train the whole chain, stage by stage. What is done is skipped, what was broken off is resumed.

    On several processes: torchrun --nproc_per_node N -m prefgen train ... (docs/scale.md); with --shard, or FSDP in
    accelerate's config, each holds a part of the weights, in a full preset.
    Presets such as sdxl-idefics2 (sd15, sdxl, sd3 or flux; smolvlm, idefics2, idefics3, qwen2.5-vl, qwen3-vl or
    llava-onevision) start from published weights; with --dry-run they say what they take: parameters, memory, disk,
    operations.
    With --people a finished model (--start, else the embedded one), or published weights by such a preset, learn
    from people of one's own (docs/train_on_your_data.md).
    """
    log_to_stderr()
    from prefgen.core import ConfigError, nearest_hint
    from prefgen.pipeline.loading import folder_of
    from prefgen.recipes.full_presets import FULL_PRESETS
    from prefgen.recipes.presets import preset_named, typed_settings
    from prefgen.recipes.ranks import fsdp_asked_for, is_first
    from prefgen.recipes.train import STAGES
    from prefgen.recipes.train import train as run

    shard = shard or fsdp_asked_for()
    full = {"dtype": dtype, "gradient_checkpointing": gradient_checkpointing, "load_4bit": load_4bit}
    full |= {"adapter_batch": batch, "mllm_batch": batch}
    if people is not None and preset not in FULL_PRESETS:
        refused = {"--stage": stage, "--vram-gb": vram_gb, "--batch": batch, "--dtype": dtype, "--shard": shard or None}
        refused |= {"--gradient-checkpointing": gradient_checkpointing, "--load-4bit": load_4bit}
        train_on_people_of(
            people, start, preset, settings, refused, work=work, out=out, max_minutes=max_minutes, dry_run=dry_run,
            as_json=json_, processes=processes,
        )  # fmt: skip
        return
    work = work or Path("runs") / preset
    out = out or work / "model"
    if preset in FULL_PRESETS:
        if stage is not None or start is not None:
            raise ConfigError("expected no --stage and no --start with a preset on published weights")
        size = FULL_PRESETS[preset]
        train_full_preset(
            size.with_overrides(**typed_settings(size, settings or []), **_given(full)),
            work=work,
            out=out,
            max_minutes=max_minutes,
            vram_gb=vram_gb,
            dry_run=dry_run,
            as_json=json_,
            people=people,
            processes=processes,
            shard=shard,
        )
        return
    size = preset_named(preset, also=FULL_PRESETS)
    size = size.with_overrides(**typed_settings(size, settings or []))
    if vram_gb is not None or any(value is not None for value in (*full.values(), shard or None)):
        raise ConfigError(
            "expected --vram-gb, --batch, --dtype, --shard and the like with a preset on published weights only",
            hint="without distributed_type: FSDP in accelerate's config" if fsdp_asked_for() else None,
        )
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


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
