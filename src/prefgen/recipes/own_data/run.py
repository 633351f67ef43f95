"""The wiring of `prefgen train --people`: features, preferences, adapter, calibration, report and the folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from prefgen.core import ConfigError
from prefgen.history.collect import people_in
from prefgen.history.splits import SPLITS, Split
from prefgen.pipeline.card import read_card, write_card
from prefgen.pipeline.loading import check_whole, folder_of, without_loading_bars
from prefgen.recipes import ranks
from prefgen.recipes.checkpoint import cast_copy, fingerprint, save_json
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Deadline, Unfinished, first_then_all
from prefgen.recipes.own_data.features import People, people_of
from prefgen.recipes.own_data.personal import train_personal_on
from prefgen.recipes.own_data.planning import Counts, check_enough, plan_of
from prefgen.recipes.own_data.preferences import calibrate, check_kind, train_preferences
from prefgen.recipes.own_data.report import REPORT, compared, figures_of, told_plainly
from prefgen.recipes.own_data.settings import OwnDataPreset
from prefgen.recipes.own_data.states import States, states_of
from prefgen.recipes.presets import preset_named

WITH_PEOPLE = "+people"
KEPT = {
    "vae, unet, text_encoder, image_encoder": "generator and encoders: their training needs captions of a whole world",
    "evidence": "its words and opinions: nobody's own pictures say which word they show; its weight beside the "
    "language model is set anew",
    "layers.json": "which layers are read: probes need people whose tastes are known",
    "mllm/words.json": "the words that can be named, and how sure the language model is of them",
}  # fmt: skip


def train_on_people(
    folder: Path,
    start: str,
    p: OwnDataPreset,
    *,
    work: Path,
    out: Path,
    max_minutes: float | None = None,
    n_processes: int | None = None,
) -> dict[str, Any] | None:
    """Trains a finished model on with a folder's training people and writes it to `out`. Returns the report, which lies
    in `out` as well; None where the time was up, and the same command goes on, and in all of several processes but the
    first. They divide each batch.

    Raises:
        ModelError: `start` is no model of the embedded kind.
        DataError: the folder cannot be read, or has too few people.
        ConfigError: `work` or `out` hold something else, or another number of processes runs than was asked for.
    """
    without_loading_bars()
    begin = folder_of(start)
    check_whole(begin)
    check_kind(begin)
    with ranks.joined(n_processes):
        report = _together(folder, begin, p, Deadline(minutes=max_minutes), work, out)
        ranks.wait()
        return report


def _together(
    folder: Path, begin: Path, p: OwnDataPreset, deadline: Deadline, work: Path, out: Path
) -> dict[str, Any] | None:
    """The run, on every process of it."""
    made_from = name_of_run(folder, begin, p)
    if (known := finished(out, made_from)) is not None:
        return known
    first_then_all(lambda: check_enough(plan_of(folder), p, folder))
    base = preset_named("tiny").with_overrides(
        name=p.name, n_pictures=p.simulated_pictures, unet_pictures=p.simulated_pictures, seed=p.seed
    )
    c = Context(preset=base, work=work, out=work / "parts", deadline=deadline)
    try:
        people: dict[Split, People] = first_then_all(
            lambda: {split: people_of(folder, split, begin, work, deadline=deadline, say=c.say) for split in SPLITS}
        )
        check_enough(found_in(people), p, folder)
        first_then_all(lambda: claim(work, made_from, folder, begin, p))
        first_then_all(lambda: cast_copy(begin, c.out, torch.float32))
        report = _trained(c, p, begin, people, made_from)
    except Unfinished as stop:
        c.say(f"time is up: {stop}; the same command resumes")
        return None
    if report is not None:
        _publish(c, out, report)
    return report


def _trained(
    c: Context, p: OwnDataPreset, start: Path, people: dict[Split, People], made_from: str
) -> dict[str, Any] | None:
    """All stages in order; the report, the first process's alone."""
    known: dict[str, People] = {**people}
    train_preferences(c, p, start, known, made_from)
    states: dict[Split, States] = first_then_all(
        lambda: {split: _states(c, p, c.out, people[split]) for split in SPLITS}
    )
    train_personal_on(c, p, start, {**states}, made_from)
    if not ranks.is_first():
        return None
    with ranks.alone():
        return _reported(c, p, start, people, states, made_from)


def _reported(
    c: Context,
    p: OwnDataPreset,
    start: Path,
    people: dict[Split, People],
    states: dict[Split, States],
    made_from: str,
) -> dict[str, Any]:
    """Weighs and measures what was learned."""
    c.say("measuring before and after")
    weighing = calibrate(start, c.out, people["validation"], p)
    tables = {}
    for split in ("validation", "test"):
        before = figures_of(start, people[split], _states(c, p, start, people[split]), p)
        tables[split] = compared(before, figures_of(c.out, people[split], states[split], p))
    return {
        "made_from": made_from,
        "start": fingerprint(start),
        "preset": asdict(p),
        "people": {split: asdict(counts) for split, counts in found_in(people).items()},
        "weighing": asdict(weighing),
        "figures": tables,
        "said": told_plainly(tables),
        "kept_from_the_start_model": KEPT,
    }


def _states(c: Context, p: OwnDataPreset, model: Path, people: People) -> States:
    return states_of(people, model, c.work, p.n_variants, deadline=c.deadline, say=c.say)


def found_in(people: dict[Split, People]) -> dict[Split, Counts]:
    """What a folder has once its pictures are read."""
    return {
        split: Counts(
            people=len(one), pictures=one.n_pictures, asked_about=len(one.askable), painted_for=len(one.paintable)
        )
        for split, one in people.items()
    }


def name_of_run(folder: Path, start: Path, p: OwnDataPreset) -> str:
    """16 hex digits of everything a run depends on: who is in the folder, the start model, and the settings."""
    digest = hashlib.sha256(f"{fingerprint(start)} {json.dumps(asdict(p))}".encode())
    for person in people_in(folder):
        rows = [person.split, person.user_id, person.items, person.targets]
        digest.update(json.dumps(rows, ensure_ascii=False).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def finished(out: Path, made_from: str) -> dict[str, Any] | None:
    """The report of a finished run of the same name. Raises `ConfigError` where something else lies in `out`."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        report = json.loads((out / REPORT).read_text())
        if report["made_from"] == made_from:
            return report
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ConfigError(f"expected a new folder for the model, got {out}, which holds something else", hint="another -o")


def claim(work: Path, made_from: str, folder: Path, start: Path, p: OwnDataPreset) -> None:
    """Marks a work folder as one run's. Raises `ConfigError` where it is another one's."""
    path = work / "run.json"
    if not path.exists():
        save_json(path, {"made_from": made_from, "people": str(folder), "start": start.name, "preset": asdict(p)})
    elif json.loads(path.read_text())["made_from"] != made_from:
        raise ConfigError(
            f"{work} holds a training on other people, another start or other settings",
            hint="give another --work, or remove that folder",
        )


def preset_with_people(preset: str) -> str:
    """What a model is called that was trained on with people: no longer one of which it is known that nobody's
    pictures are in it, as its card on the hub would say."""
    return preset if preset.endswith(WITH_PEOPLE) else preset + WITH_PEOPLE


def _publish(c: Context, out: Path, report: dict[str, Any]) -> None:
    """A half-precision copy with its report, put in place when it is whole."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    cast_copy(c.out, part, torch.float16)
    card = read_card(part)
    write_card(replace(card, preset=preset_with_people(card.preset)), part)
    save_json(part / REPORT, report)
    if out.exists():
        out.rmdir()
    os.replace(part, out)
    print(f"wrote {out}", file=sys.stderr, flush=True)
