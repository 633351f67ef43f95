"""The wiring of `prefgen train --preset NAME --people`: published weights and a folder of people in, a model out.

Features, LoRA, layers, states, strings, prompts, adapter: each stage keeps what it has done in the work folder, loads
only the networks that it runs, and is skipped when it is done.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.core import ConfigError, DataError
from prefgen.history.collect import people_in
from prefgen.history.splits import SPLITS, Split
from prefgen.mllm import PreferenceMLLM
from prefgen.pipeline.loading import without_loading_bars
from prefgen.probing import LayerChoice
from prefgen.recipes import ranks
from prefgen.recipes.checkpoint import fingerprint
from prefgen.recipes.four_bit import check_bitsandbytes
from prefgen.recipes.full_people.eyes import PublishedEyes
from prefgen.recipes.full_people.layers import chosen_layers
from prefgen.recipes.full_people.painting import save_painter
from prefgen.recipes.full_people.parts import LORA, Parts, freed, parts_of, stamp
from prefgen.recipes.full_people.personal import Held, Painted, painted_for
from prefgen.recipes.full_people.preferences import margins, train_lora
from prefgen.recipes.full_people.publish import publish
from prefgen.recipes.full_people.strings import Strings, strings_of
from prefgen.recipes.full_presets import FullPreset
from prefgen.recipes.loop import Deadline, Unfinished, first_then_all
from prefgen.recipes.own_data.conversations import examined_people
from prefgen.recipes.own_data.features import People, people_seen
from prefgen.recipes.own_data.judging import which_of_two, yes_or_no
from prefgen.recipes.own_data.planning import check_enough, plan_of
from prefgen.recipes.own_data.report import Figures, compared, told_plainly
from prefgen.recipes.own_data.run import claim, finished, found_in
from prefgen.recipes.own_data.settings import OwnDataPreset
from prefgen.recipes.own_data.states import States, states_read
from prefgen.recipes.sharding import check_cut

TRAINED = "trained"
HELD_OUT: tuple[Split, ...] = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run: everything that its stages share."""

    folder: Path
    preset: FullPreset
    p: OwnDataPreset
    parts: Parts
    work: Path
    made_from: str
    deadline: Deadline

    def say(self, message: str) -> None:
        """A line for the person at the terminal, from the first of several processes."""
        if ranks.is_first():
            print(message, file=sys.stderr, flush=True)


def people_settings(preset: FullPreset) -> OwnDataPreset:
    """The preset's lengths as trainings on people's own pictures take them; nobody is simulated."""
    return OwnDataPreset(
        name=preset.name,
        preference_samples=preset.preference_samples,
        preference_batch=preset.mllm_batch,
        preference_rate=preset.preference_rate,
        preference_contrast=preset.preference_contrast,
        lora_rank=preset.lora_rank,
        most_pictures=preset.most_pictures,
        simulated_share=0.0,
        choose_every=preset.choose_every,
        adapter_samples=preset.adapter_samples,
        adapter_batch=preset.adapter_batch,
        adapter_rate=preset.adapter_rate,
        evaluated_people=preset.evaluated_people,
        seed=preset.seed,
    ).checked()


def train_full_on_people(
    folder: Path,
    preset: FullPreset,
    *,
    work: Path,
    out: Path,
    max_minutes: float | None = None,
    n_processes: int | None = None,
    shard: bool = False,
) -> dict[str, Any] | None:
    """Trains a personal model on published weights with a folder's people and writes it to `out`. Returns the report,
    which lies in `out` as well; None where the time was up, and the same command goes on, and in all of several
    processes but the first. With `shard`, what several processes train they cut among them (FSDP2).

    Raises:
        ModelError: published weights are not on this machine, or not whole.
        DataError: the folder cannot be read, or has too few people.
        ConfigError: `work` or `out` hold something else, or weights cannot be cut.
    """
    without_loading_bars()
    p, deadline = people_settings(preset), Deadline(minutes=max_minutes)
    if preset.dtype == "float16":
        raise ConfigError(
            "expected bf16 or float32 with people, got float16: gradients pass through the network unscaled",
            hint="--dtype bf16",
        )
    if not p.adapter_samples:
        raise DataError("expected adapter_samples above 0: published weights hear nobody before they are trained")
    if preset.load_4bit:
        check_bitsandbytes()
    if shard:
        check_cut(ranks.launched(), four_bit=preset.load_4bit)
    with ranks.joined(n_processes):
        return _together(folder, parts_of(preset, work, shard=shard), p, deadline, work, out)


def _together(
    folder: Path, parts: Parts, p: OwnDataPreset, deadline: Deadline, work: Path, out: Path
) -> dict[str, Any] | None:
    """The run, on every process of it."""
    made_from = name_of(folder, parts)
    if (known := finished(out, made_from)) is not None:
        return known
    first_then_all(lambda: check_enough(plan_of(folder), p, folder))
    first_then_all(lambda: claim(work, made_from, folder, parts.folder, p))
    run = _Run(folder=folder, preset=parts.preset, p=p, parts=parts, work=work, made_from=made_from, deadline=deadline)
    try:
        report, train = _trained(run)
    except Unfinished as stop:
        run.say(f"time is up: {stop}; the same command resumes")
        return None
    if report is not None:
        lora = work / LORA if p.preference_samples else None
        publish(parts, report, train, trained=work / TRAINED, lora=lora, out=out)
        run.say(f"wrote {out}")
    ranks.wait()
    return report


def name_of(folder: Path, parts: Parts) -> str:
    """16 hex digits of everything a run depends on: the people, the published weights, and the settings."""
    digest = hashlib.sha256(f"{stamp(parts.folder)} {json.dumps(asdict(parts.preset))}".encode())
    for person in people_in(folder):
        rows = [person.split, person.user_id, person.items, person.targets]
        digest.update(json.dumps(rows, ensure_ascii=False).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def _trained(run: _Run) -> tuple[dict[str, Any] | None, People]:
    """All stages in order; the report (the first process's alone), and the people who were learned from."""
    p, parts, work = run.p, run.parts, run.work
    people: dict[Split, People] = first_then_all(lambda: {split: _people(run, split) for split in SPLITS})
    check_enough(found_in(people), p, run.folder)
    freed()
    lora = train_lora(parts, p, {**people}, work, run.made_from, run.deadline, run.say)
    read_by = f"{parts.made_by}.{'plain' if lora is None else fingerprint(lora)}"

    def reader() -> PreferenceMLLM:
        return parts.language_model(lora)

    most, kept = run.preset.probed_people, work / "layers.json"
    layers, n_states = first_then_all(lambda: chosen_layers(reader, people["validation"], most, kept, run.say))

    def states_in(split: Split) -> States:
        where = {"layers": (*layers.e_sem, *layers.e_core), "n_states": n_states}
        told = {"deadline": run.deadline, "say": run.say}
        return states_read(people[split], reader, read_by, work, p.n_variants, **told, **where)

    states: dict[Split, States] = first_then_all(lambda: {split: states_in(split) for split in SPLITS})
    strings: dict[Split, Strings] = first_then_all(lambda: {split: _strings(run, split) for split in SPLITS})
    freed()
    held = Held(parts=parts, p=p, states=states, strings=strings, layers=layers, work=work, made_from=run.made_from)
    painted = painted_for(held, deadline=run.deadline, say=run.say)
    if painted is None:
        return None, people["train"]
    with ranks.alone():
        return _reported(run, people, painted, layers, lora), people["train"]


def _reported(
    run: _Run, people: dict[Split, People], painted: Painted, layers: LayerChoice, lora: Path | None
) -> dict[str, Any]:
    """Saves what was learned, and measures it."""
    save_painter(painted.painter, run.work / TRAINED)
    painted.painter.frozen.clear()
    freed()
    figures = {split: _figures(run, people[split], lora) for split in HELD_OUT}
    tables: dict[Split, Any] = {
        s: compared(figures[s][0] | painted.before[s], figures[s][1] | painted.after[s]) for s in HELD_OUT
    }
    return {
        "made_from": run.made_from,
        "preset": asdict(run.preset),
        "people": {split: asdict(counts) for split, counts in found_in(people).items()},
        "layers": layers.to_json(),
        "figures": tables,
        "retrieval_of_own_string": painted.retrieval,
        "said": told_plainly(tables),
    }


def _people(run: _Run, split: Split) -> People:
    made_by, told = run.parts.made_by, {"deadline": run.deadline, "say": run.say}
    return people_seen(run.folder, split, lambda: PublishedEyes(run.parts), made_by, run.work, **told)


def _strings(run: _Run, split: Split) -> Strings:
    path = run.work / "strings" / f"{split}.jsonl"
    load = run.parts.language_model if run.preset.strings_by_model else None
    return strings_of(run.folder, split, load, path, deadline=run.deadline, say=run.say)


def _figures(run: _Run, people: People, lora: Path | None) -> tuple[Figures, Figures]:
    """What the language model tells of people, as it is published and after its training."""
    exams = examined_people(people, run.p.evaluated_people)
    if not exams:
        return {}, {}
    found: list[Figures] = []
    for updates in (None, lora):
        if found and lora is None:
            found.append(found[0])
            continue
        said = margins(run.parts.language_model(updates), people, [one.pack() for one in exams])
        likes = [np.arange(len(one)) % 2 == 0 for one in said]
        found.append({"which_of_two": which_of_two(said), "yes_no": yes_or_no(said, likes)})
    return found[0], found[1]
