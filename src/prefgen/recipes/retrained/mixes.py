"""`prefgen bench --task mixes`: what real pictures among the training data do to knowing a taste.

The evidence of taste learns its opinions from simulated people and from people who judge designers' pictures, in shares
from none to all, and is then asked yes/no about people of all sorts that it never met: simulated ones, and judges of
other vendors' pictures of other concepts. Each seed trains on another pair of vendors. None of this is shipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prefgen.benchmark.ablations.page import write_page
from prefgen.benchmark.results import Row, row
from prefgen.benchmark.run import current_commit, weights_folder, weights_sha256
from prefgen.benchmark.statistics import difference_interval, mean_interval
from prefgen.benchmark.store import fingerprint
from prefgen.core import ModelError, numpy_rng
from prefgen.embedding import TasteEvidence
from prefgen.recipes.checkpoint import load_tensors, save_json, save_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Deadline, Loop, LoopSettings
from prefgen.recipes.people_features import clip_embeddings
from prefgen.recipes.presets import preset_named
from prefgen.recipes.retrained.designers import Gallery, Judged, Kind, judged_by, read_gallery, vendors_of_fold
from prefgen.recipes.start import begin_from
from prefgen.recipes.taste_evidence import (
    OPINION_WEIGHT_DECAY,
    People,
    answer_losses,
    batch_of,
    conversations,
    embedded_people,
    opinion_losses,
)
from prefgen.recipes.vqa_evaluation import evaluation_history, evaluation_queries

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEDS = (0, 1, 2)
N_SAMPLES, N_TESTED, N_PEOPLE, N_VALIDATION = 40_000, 200, 1_500, 100
KINDS: Mapping[str, tuple[Kind, ...]] = {"designers": ("style", "subject"), "picks": ("picks",)}
"""What real pictures come as, question by question."""
TESTED: tuple[Kind, ...] = ("style", "subject", "picks")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question as the page shows it."""

    name: str
    title: str
    places: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Materials:
    """What all trainings share: simulated people of both splits, and the gallery as the same evidence sees it."""

    c: Context
    evidence: Path
    train: People
    validation: People
    gallery: Gallery
    designers: People
    key: str


def bench_mixes(
    model_folder: str | Path = "embedded",
    *,
    data: Path,
    out: Path,
    work: Path | None = None,
    shares: Sequence[float] = SHARES,
    seeds: Sequence[int] = SEEDS,
    n_samples: int = N_SAMPLES,
    n_tested: int = N_TESTED,
    n_people: int = N_PEOPLE,
    n_validation: int = N_VALIDATION,
    preset: str = "embedded",
    report: Path | None = None,
) -> dict[str, Any]:
    """Trains and measures every share and gives what `bench` gives; `out` keeps figures and goes on where it stopped.

    `data` holds `emoji/`; `work` is a training run whose pictures and features are used (`out` where there is none).
    `report` is a folder for the page `mixes.html`.
    """
    folder = weights_folder(model_folder)
    if folder is None or not (folder / "evidence").is_dir():
        raise ModelError(f"expected a model's folder with evidence/ in it, got {model_folder}", hint="--model FOLDER")
    gallery, weights = read_gallery(data / "emoji"), weights_sha256(folder)
    c = Context(
        preset=preset_named(preset).with_overrides(n_users=n_people, evidence_samples=n_samples),
        work=work or out,
        out=(work or out) / "model",
        deadline=Deadline(),
    )
    begin_from(folder, c.out)
    given = _materials(c, folder / "evidence", gallery, n_validation, fingerprint(weights, n_people, n_samples))
    found = {
        (question, share, seed): _measured(given, out, question, share, seed, n_tested)
        for question in KINDS
        for share in shares
        for seed in seeds
    }
    rows = [r for question in KINDS for r in _rows(question, shares, seeds, found)]
    result = {
        "commit": current_commit(),
        "weights_sha256": weights,
        "n_users": n_tested,
        "seeds": list(seeds),
        "rows": [r.to_json() for r in rows],
        "command": " ".join(
            ["prefgen bench --json --task mixes", f"--data {data} --out {out}"]
            + ([] if work is None else [f"--work {work}"])
            + ([] if report is None else [f"--report {report}"])
        ),
        "samples": n_samples,
    }
    save_json(out / "mixes.json", result)
    if report is not None:
        write_page(report / "mixes.html", questions(shares), rows, result, NOTE)
    return result


NOTE = (
    "The evidence's opinions are trained anew on each mix, three seeds, each with another pair of vendors; the model's "
    "own answer is left out. Tested are people it never met: simulated ones, and judges of other vendors' pictures of "
    "other concepts. Bands are 95 % bootstrap intervals over people. Nothing of this is shipped."
)


def questions(shares: Sequence[float]) -> list[Asked]:
    """Both questions with the places of their shares."""
    titles = {
        "designers": "How many of the training people should judge designers' pictures?",
        "picks": "And if they come as two pictures for one prompt, as in Pick-a-Pic?",
    }
    return [
        Asked(name=name, title=title, places={named(share): 100 * share for share in shares})
        for name, title in titles.items()
    ]


def named(share: float) -> str:
    """How a mix is called in rows."""
    return f"{100 * share:.0f} % real"


def _materials(c: Context, evidence: Path, gallery: Gallery, n_validation: int, key: str) -> Materials:
    read = TasteEvidence.load(evidence)
    path = c.work / "retrained" / f"designers.{fingerprint(c.out / 'image_encoder')}.safetensors"
    if not path.exists():
        save_tensors(path, {"clip": clip_embeddings(c.out, gallery.images)})
    p = c.preset
    return Materials(
        c=c,
        evidence=evidence,
        train=People(read, embedded_people(c, "train", p.n_users, p.n_users)),
        validation=People(read, embedded_people(c, "validation", n_validation, n_validation)),
        gallery=gallery,
        designers=People(read, load_tensors(path)["clip"]),
        key=key,
    )


def _measured(given: Materials, out: Path, question: str, share: float, seed: int, n_tested: int) -> dict[str, Any]:
    """Each tested person's share of right answers, kind by kind; from disk where it is there."""
    name = f"mix-{'all' if share == 0 else question}-{100 * share:.0f}.{seed}"
    path = out / f"{name}.{given.key}.{n_tested}.json"
    if path.exists():
        return json.loads(path.read_text())
    evidence = trained(given, KINDS[question], share, seed, name)
    tested = vendors_of_fold(given.gallery.vendors, seed)[1]
    found: dict[str, list[float]] = {"simulated": _simulated(given, evidence).tolist()}
    for kind in TESTED:
        judged = [
            judged_by(numpy_rng("tested designers", kind, seed, i), given.gallery, kind, tested, held_out=True)
            for i in range(n_tested)
        ]
        found[kind] = _right(given.designers, evidence, judged).tolist()
    save_json(path, found)
    given.c.say(f"{name}: " + ", ".join(f"{kind} {np.mean(values):.3f}" for kind, values in found.items()))
    return found


def trained(given: Materials, kinds: Sequence[Kind], share: float, seed: int, name: str) -> TasteEvidence:
    """Opinions learned anew, a `share` of all batches on designers' pictures; resumes from its checkpoint."""
    p, vendors = given.c.preset, vendors_of_fold(given.gallery.vendors, seed)[0]
    read = TasteEvidence.load(given.evidence)
    torch.manual_seed(numpy_rng("mixes", seed).integers(2**62))
    evidence = TasteEvidence(read.config)
    evidence.reader.load_state_dict(read.reader.state_dict())
    evidence.manner.load_state_dict(read.manner.state_dict())
    evidence.reader.requires_grad_(False)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rng = numpy_rng("mix", seed, step)
        if rng.random() >= share:
            asked = conversations(step, given.train.n_people, p.evidence_batch, seed)
            return opinion_losses(evidence, given.train, asked)
        sizes = rng.integers(1, 9, p.evidence_batch)
        judged = [
            judged_by(rng, given.gallery, kinds[k % len(kinds)], vendors, held_out=False, n_each=int(n))
            for k, n in enumerate(sizes)
        ]
        margins, n_pairs = _margins(given.designers, evidence, judged), len(judged[0].asked) // 2
        pairs = [(r, 2 * k, 2 * k + 1) for r in range(len(judged)) for k in range(n_pairs)]
        return answer_losses(margins, torch.tensor([1.0, 0.0]).repeat(len(judged), n_pairs), pairs)

    settings = LoopSettings(
        n_samples=p.evidence_samples,
        batch_size=p.evidence_batch,
        learning_rate=4e-3,
        weight_decay=OPINION_WEIGHT_DECAY,
        warmup_samples=p.evidence_samples // 20,
        decay_fraction=0.7,
        seed=seed,
        bf16=False,
    )
    Loop(f"{name}.{given.key}", given.c.work / "retrained", evidence, loss, settings).run(given.c.deadline)
    return evidence.eval()


def _margins(people: People, evidence: TasteEvidence, judged: Sequence[Judged]) -> Tensor:
    opinions = evidence(batch_of([people.shown(one.items, ((), ())) for one in judged]))
    return people.margins(opinions, torch.tensor([one.asked for one in judged]))


@torch.no_grad()
def _right(people: People, evidence: TasteEvidence, judged: Sequence[Judged]) -> np.ndarray:
    """Each person's share of right yes/no answers; a log odds of exactly 0 counts half."""
    signs = np.sign(_margins(people, evidence, judged).numpy())
    signs[:, 1::2] *= -1
    return (signs.mean(1) + 1) / 2


def _simulated(given: Materials, evidence: TasteEvidence) -> np.ndarray:
    """The same of the simulated validation people, 4 + 4 pictures, noise-free questions."""
    n = given.validation.n_people
    judged = [
        Judged(
            items=tuple(evaluation_history(i, "validation", "own", n_people=n)),
            asked=tuple(slot.key for pair in evaluation_queries(i, "validation") for slot in pair),
        )
        for i in range(n)
    ]
    return _right(given.validation, evidence, judged)


def _rows(
    question: str, shares: Sequence[float], seeds: Sequence[int], found: Mapping[tuple[str, float, int], Any]
) -> list[Row]:
    """Means over people of what seeds reach on average, and the paired difference of each mix from simulated people
    alone."""
    rows: list[Row] = []
    for kind in ("simulated", *TESTED):
        means = {s: np.mean([found[question, s, seed][kind] for seed in seeds], 0) for s in shares}
        for share in shares:
            rows.append(row(named(share), f"yes_no_{kind}@{question}", mean_interval(means[share])))
            if share != shares[0]:
                change = difference_interval(means[share], means[shares[0]])
                rows.append(row(named(share), f"{kind}_above_{named(shares[0])}@{question}", change))
    return rows
