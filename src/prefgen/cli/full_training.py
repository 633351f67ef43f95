"""`prefgen train` with a full preset: what it takes, told first; then the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefgen.cli.output import emit

if TYPE_CHECKING:
    from prefgen.recipes.full_plan import FullPlan, StagePlan
    from prefgen.recipes.full_presets import FullPreset


def train_full_preset(
    preset: FullPreset,
    *,
    work: Path,
    out: Path,
    max_minutes: float | None,
    vram_gb: float | None,
    dry_run: bool,
    as_json: bool,
    people: Path | None = None,
    processes: int | None = None,
    shard: bool = False,
) -> None:
    """Prints the plan (`dry_run`), or refuses what does not fit `vram_gb`, or trains: the whole chain with `people`,
    else the adapter on prepared rows. With `shard`, weights are cut over the processes."""
    from prefgen.recipes.full_plan import check_fits, plan_of
    from prefgen.recipes.ranks import launched
    from prefgen.recipes.sharding import check_cut

    n_cards = (processes or launched()) if shard else 1
    if shard:
        check_cut(n_cards, four_bit=preset.load_4bit)
    if dry_run or vram_gb is not None:
        plan = plan_of(preset, n_cards=n_cards) if vram_gb is None else check_fits(preset, vram_gb, n_cards=n_cards)
        if dry_run:
            _tell_plan(plan, people, as_json)
            return
    _check_room(preset, people, work, checked=vram_gb is not None, n_cards=n_cards)
    if people is not None:
        _train_on(people, preset, work, out, max_minutes, as_json, processes, shard)
        return
    from prefgen.recipes.full_run import train_full
    from prefgen.recipes.ranks import is_first

    done = train_full(preset, work=work, out=out, max_minutes=max_minutes, n_processes=processes, shard=shard)
    if not is_first():
        return
    said = "done" if done else "unfinished: the same command resumes"
    emit({"preset": preset.name, "done": done, "out": str(out)}, as_json=as_json, lines=[said])


def _check_room(preset: FullPreset, people: Path | None, work: Path, *, checked: bool, n_cards: int) -> None:
    """Says what a run needs at least, and refuses what this machine has no room for. Of weights in the published ones'
    place nothing is known."""
    import sys

    from prefgen.recipes.full_people.room import bytes_of_card, free_bytes
    from prefgen.recipes.full_plan import check_room
    from prefgen.recipes.own_data.planning import plan_of as people_in
    from prefgen.recipes.ranks import is_first

    if preset.generator or preset.language_model or not is_first():
        return
    free = None
    if people is not None:
        n_pictures = sum(counts.pictures for counts in people_in(people).values())
        preset, free = preset.with_overrides(n_pictures=n_pictures), free_bytes(work)
    plan = check_room(preset, vram=None if checked else bytes_of_card(), disk=free, n_cards=n_cards)
    worst = max(stage.vram for stage in plan.stages)
    kept = "" if people is None else f", {_size(sum(plan.disk.values()))} of disk in {work}"
    print(f"needs {_size(worst)} on the card besides activations{kept}", file=sys.stderr, flush=True)


def _train_on(
    people: Path,
    preset: FullPreset,
    work: Path,
    out: Path,
    max_minutes: float | None,
    as_json: bool,
    processes: int | None,
    shard: bool,
) -> None:
    """The whole chain with a folder's people; figures before and after go to stdout."""
    from prefgen.recipes.full_people.run import train_full_on_people
    from prefgen.recipes.own_data.report import lines_of as lines_of_report
    from prefgen.recipes.ranks import is_first

    told: dict[str, Any] = {"preset": preset.name, "people": str(people), "out": str(out)}
    run = {"work": work, "out": out, "max_minutes": max_minutes, "n_processes": processes, "shard": shard}
    report = train_full_on_people(people, preset, **run)
    if not is_first():
        return
    if report is None:
        emit({**told, "done": False}, as_json=as_json, lines=["unfinished: the same command resumes"])
        return
    lines = [*lines_of_report(report["figures"]), f"{out} is ready: prefgen generate --model {out} ..."]
    emit({**told, "done": True, "report": report}, as_json=as_json, lines=lines)


def _tell_plan(plan: FullPlan, people: Path | None, as_json: bool) -> None:
    """The plan, and who is in the folder of people, if one is given; whether they are enough."""
    told, lines = {**plan.to_json(), "dry_run": True}, list(lines_of(plan))
    if people is None:
        emit(told, as_json=as_json, lines=lines)
        return
    from dataclasses import asdict

    from prefgen.recipes.full_people.run import people_settings
    from prefgen.recipes.own_data import planning

    counts = planning.plan_of(people)
    told["counts"] = {split: asdict(n) for split, n in counts.items()}
    for split, n in counts.items():
        lines.append(f"{split}: " + ", ".join(f"{k:,} {name.replace('_', ' ')}" for name, k in asdict(n).items()))
    emit(told, as_json=as_json, lines=lines)
    planning.check_enough(counts, people_settings(plan.preset), people)


def lines_of(plan: FullPlan) -> Iterator[str]:
    """The plan for a person."""
    from prefgen.recipes.full_plan import PICTURES_A_PERSON
    from prefgen.recipes.full_presets import published

    p = plan.preset
    backbone, mllm = (published(name)["hub"] for name in (p.backbone, p.mllm))
    yield f"{p.name}: {backbone} and {mllm}, counted from their published configurations, nothing downloaded"
    yield f"pictures are seen through {p.image_encoder}"
    for stage in plan.stages:
        yield from _stage_lines(stage)
    whose = f"{p.n_pictures:,} pictures of {p.n_pictures // PICTURES_A_PERSON:,} people"
    yield f"disk for {whose}: {_size(sum(plan.disk.values()))}"
    yield from (f"  {name}: {_size(size)}" for name, size in plan.disk.items())
    yield "only to read pictures and prompts, then off the card:"
    yield from (f"  {name}: {n:,} parameters" for name, n in plan.preparing.items())


def _stage_lines(stage: StagePlan) -> Iterator[str]:
    from prefgen.recipes.full_plan import TFLOPS

    yield f"stage {stage.stage}, batch {stage.batch}"
    for kind, parts in (("trainable", stage.trainable), ("frozen", stage.frozen)):
        told = ", ".join(f"{name} {n:,}" for name, n in parts.items())
        yield f"  {kind}: {sum(parts.values()):,} parameters ({told})"
    yield f"  VRAM: about {_size(stage.vram)}"
    yield from (f"    {name}: {_size(size)}" for name, size in stage.memory.items() if size)
    told = f"{stage.seconds:,.2f} s at {TFLOPS:.0f} TFLOP/s (counted, not measured)"
    yield f"  FLOPs per step: {stage.flops_per_step / 1e12:,.2f} T, {told}"


def _size(n_bytes: Any) -> str:
    """Bytes in units of 2³⁰, or of 2²⁰ where there are few."""
    return f"{n_bytes / 2**30:,.2f} GB" if n_bytes >= 2**27 else f"{n_bytes / 2**20:,.1f} MB"
