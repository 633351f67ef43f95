"""`prefgen bench --task retrained`: every variant, three seeds each, on validation people with the validation judge.

What is compared here guides the method, so it may not be the test people. A variant's figures are kept, so that the
same command goes on where a broken one stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.benchmark.ablations.page import write_page
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.judge import Judge
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.metrics.subject_accuracy import subject_hits
from prefgen.benchmark.population import members_of
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.run import check_names, current_commit, judges_folder, weights_folder, weights_sha256
from prefgen.benchmark.statistics import difference_interval, mean_interval
from prefgen.benchmark.store import fingerprint
from prefgen.benchmark.tasks import Task, cases_of, tasks_of
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.core import ModelError
from prefgen.recipes.adapters import layer_choice
from prefgen.recipes.checkpoint import load_tensors, save_json, save_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.loop import Deadline
from prefgen.recipes.manners import learn_to_follow, manner_of_pictures
from prefgen.recipes.people_features import people_features
from prefgen.recipes.presets import preset_named
from prefgen.recipes.retrained.painting import Retrained
from prefgen.recipes.retrained.training import (
    Given,
    alignment_figures,
    embeddings_of,
    file_name,
    linear_cka,
    trained_encoder,
)
from prefgen.recipes.retrained.variants import REFERENCE, VARIANTS, Variant
from prefgen.recipes.start import begin_from
from prefgen.recipes.twins import twins_of


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question as the page shows it."""

    name: str
    title: str
    places: None = None


QUESTIONS = {
    asked.name: asked
    for asked in (
        Asked(name="parts", title="What is each part of the embedding good for, trained without it?"),
        Asked(name="layers", title="Which layers should feed the embedding?"),
        Asked(name="alignment", title="With or without alignment, and by which loss?"),
        Asked(name="kernel", title="Does MMD's kernel matter?"),
        Asked(name="fusion", title="How should user tokens reach the generator?"),
        Asked(name="stability", title="Is the split into e_sem and e_core the same whoever trains it?"),
    )
}
NOTE = (
    "User encoders trained anew on cached features, everything else as shipped; validation people, validation judge. "
    "Figures are means of the seeds, bars 95 % bootstrap intervals over people; those of retrieval, MMD² and CKA are "
    "the least and the most of the seeds."
)
SEEDS = (0, 1, 2)
TASTES = ("worded", "wordless", "total")
N_USERS, N_SAMPLES, N_TRAINING_PEOPLE = 48, 40_000, 1_500
STABLE_PARTS = ("sem", "core", "img")


def retrain(
    model_folder: str | Path = "embedded",
    *,
    out: Path,
    work: Path | None = None,
    names: Sequence[str] | None = None,
    seeds: Sequence[int] = SEEDS,
    n_users: int = N_USERS,
    n_samples: int = N_SAMPLES,
    report: Path | None = None,
    preset: str = "embedded",
    n_training_people: int = N_TRAINING_PEOPLE,
) -> dict[str, Any]:
    """Trains and measures variants and gives what `bench` gives.

    `out` keeps encoders, figures and the result as `retrained.json`; `work` is a training run whose cached features are
    used (`out` itself where there is none: they are then computed, minutes to an hour). `report` is a folder for the
    page `retrained.html` with a plot for each question.
    """
    from prefgen.pipeline import PrefGen

    folder = weights_folder(model_folder)
    if folder is None:
        raise ModelError(f"expected a model's folder on this machine, got {model_folder}", hint="--model FOLDER")
    known = {variant.name: variant for variant in VARIANTS}
    check_names(names or (), known)
    chosen = [known[name] for name in names or known]
    work = work or out
    c = Context(
        preset=preset_named(preset).with_overrides(n_users=n_training_people, adapter_word_samples=n_samples),
        work=work,
        out=work / "model",
        deadline=Deadline(),
    )
    begin_from(folder, c.out)
    bench = Bench(
        chain=PrefGen.from_pretrained(str(folder)), sampling=Sampling(), baselines=folder.parent / "baselines"
    )
    judge, weights = Judge.load(judges_folder(folder) / "validation"), weights_sha256(folder)
    key = fingerprint(weights, n_users, n_samples, n_training_people, tuned_parameters("prefgen"))
    given = given_for(c, bench.chain.pipe.unet.config.cross_attention_dim, key)
    tasks = tasks_of(cases_of(members_of("validation")[:n_users]), n_prompts=2, n_seeds=1)
    found = {(v.name, seed): _measured(given, bench, judge, tasks, v, seed) for v in chosen for seed in seeds}
    rows = rows_of(chosen, seeds, found) + stability_rows(given, chosen, seeds)
    result = {
        "commit": current_commit(),
        "weights_sha256": weights,
        "n_users": n_users,
        "seeds": list(seeds),
        "rows": [r.to_json() for r in rows],
        "command": _command(out, work, names, n_users, report),
        "samples": n_samples,
    }
    save_json(out / "retrained.json", result)
    if report is not None:
        asked = [name for name in QUESTIONS if any(r.metric.endswith(f"@{name}") for r in rows)]
        write_page(report / "retrained.html", [QUESTIONS[name] for name in asked], rows, result, NOTE)
    return result


def given_for(c: Context, d_cross: int, key: str) -> Given:
    """What all variants share, computed or read once."""
    (c.work / "retrained").mkdir(parents=True, exist_ok=True)
    people = {split: people_features(c, split) for split in ("train", "validation")}
    manner = manner_of_pictures(c)
    learn_to_follow(manner, people["train"])
    return Given(
        c=c,
        train=people["train"],
        validation=people["validation"],
        twins=twins_of(c),
        manner=manner,
        text=TextEncoding(c.out),
        probed=layer_choice(c, people["train"].last.shape[-2]),
        d_cross=d_cross,
        key=key,
    )


def _command(out: Path, work: Path, names: Sequence[str] | None, n_users: int, report: Path | None) -> str:
    words = ["prefgen", "bench", "--json", "--task", "retrained", "--n-users", str(n_users), "--out", str(out)]
    words += [] if work == out else ["--work", str(work)]
    words += [] if names is None else ["--methods", f'"{",".join(names)}"']
    return " ".join(words + ([] if report is None else ["--report", str(report)]))


def _measured(
    given: Given, bench: Bench, judge: Judge, tasks: Sequence[Task], variant: Variant, seed: int
) -> dict[str, Any]:
    """Each person's utilities and subject hits, and the alignment's figures; from disk where they are there."""
    path = given.c.work / "retrained" / f"{file_name(variant, seed)}.{given.key}.json"
    if path.exists():
        return json.loads(path.read_text())
    encoder = trained_encoder(given, variant, seed)
    cases = sorted({t.case.user: t.case for t in tasks}.values(), key=lambda case: case.user)
    readings = {variant.name: judge.read(np.stack(Retrained(bench, variant, encoder).paint(tasks)))}
    results = Results(cases=cases, tasks=tasks, pictures={}, readings=readings)
    utility = results.utility(variant.name)
    by_user = {f"utility_{taste}": results.by_user(getattr(utility, taste)).tolist() for taste in TASTES}
    by_user["subject_accuracy"] = results.by_user(subject_hits(results, variant.name)).tolist()
    figures = {"by_user": by_user, "figures": alignment_figures(encoder, given)}
    embedded = embeddings_of(encoder, given.validation)
    save_tensors(path.with_suffix(".embedded.safetensors"), {k: v.contiguous() for k, v in embedded.items()})
    save_json(path, figures)
    given.c.say(f"{variant.name}, seed {seed}: {figures['figures']}")
    return figures


def rows_of(
    variants: Sequence[Variant], seeds: Sequence[int], found: Mapping[tuple[str, int], Mapping[str, Any]]
) -> list[Row]:
    """For each variant: means over people of what seeds reach on average, with intervals over people; the least and
    most of the seeds as `…_of_seeds`; the paired difference from the reference; retrieval and MMD² over seeds."""
    rows: list[Row] = []
    names = [f"utility_{taste}" for taste in TASTES] + ["subject_accuracy"]
    columns = {
        (v.name, name): np.array([found[v.name, s]["by_user"][name] for s in seeds], dtype=float)
        for v in variants
        for name in names
    }
    for v in variants:
        for name in names:
            each = columns[v.name, name]
            rows.append(row(v.name, f"{name}@{v.question}", mean_interval(each.mean(0))))
            rows.append(_over_seeds(v.name, f"{name}_of_seeds@{v.question}", each.mean(1)))
        if (REFERENCE, "utility_total") in columns and v.name != REFERENCE:
            ours, theirs = (columns[n, "utility_total"].mean(0) for n in (v.name, REFERENCE))
            rows.append(row(v.name, f"above:{REFERENCE}@{v.question}", difference_interval(ours, theirs)))
        for name in ("retrieval_top1", "mmd2"):
            values = np.array([found[v.name, s]["figures"][name] for s in seeds], dtype=float)
            rows.append(_over_seeds(v.name, f"{name}@{v.question}", values))
    return rows


def _over_seeds(method: str, metric: str, values: np.ndarray) -> Row:
    """The mean, least and most of the seeds' figures; `n` counts seeds."""
    low, high = float(values.min()), float(values.max())
    return Row(method=method, metric=metric, value=float(values.mean()), low=low, high=high, n=len(values))


def stability_rows(given: Given, variants: Sequence[Variant], seeds: Sequence[int]) -> list[Row]:
    """Linear CKA between the seeds' readings of the same validation people, of each part of the reference, beside that
    of one seed's `sem` and `core`: whether the split into parts is the same whoever trains it."""
    if REFERENCE not in {v.name for v in variants} or len(seeds) < 2:
        return []
    reference = next(v for v in variants if v.name == REFERENCE)
    folder = given.c.work / "retrained"
    read = [load_tensors(folder / f"{file_name(reference, s)}.{given.key}.embedded.safetensors") for s in seeds]
    rows = []
    for part in STABLE_PARTS:
        pairs = [linear_cka(a[part], b[part]) for k, a in enumerate(read) for b in read[k + 1 :]]
        rows.append(_over_seeds(f"e_{part}", "cka_between_seeds@stability", np.array(pairs)))
    across = [linear_cka(one["sem"], one["core"]) for one in read]
    rows.append(_over_seeds("e_sem and e_core", "cka_of_one_seed@stability", np.array(across)))
    return rows
