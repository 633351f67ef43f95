"""Probing: which hidden states know who a person is, and which know what that person likes; the choice of layers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prefgen.agents.painter import paint
from prefgen.agents.people import Person, history_of, random_prompt, rendering, training_person
from prefgen.core import History, HistoryItem, numpy_rng
from prefgen.probing import ProbeReport, choose_layers, inter_user, intra_user, plot_report
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.context import Context

N_USERS, N_HISTORIES, N_QUERY_PAIRS = 100, 6, 6
FIRST_USER = 10_000
"""Probed people: validation people far from those on whom anything else is chosen."""


def _picture(scene: Any) -> Image.Image:
    return Image.fromarray(paint(scene))


def painted_history(person: Person, tag: str, n_per_side: int = 4) -> History:
    """An independent 4 + 4 history of a person (as labelled, noise included), in time order."""
    shown = history_of(person, seed_class="validation", tag=tag)
    kept = [s for liked in (True, False) for s in [x for x in shown if x.liked == liked][:n_per_side]]
    items = [HistoryItem(image=_picture(s.scene), side="like" if s.liked else "dislike") for s in kept]
    return History(items=tuple(items))


def query_pictures(person: Person, n_pairs: int) -> list[tuple[Image.Image, bool]]:
    """Liked and disliked pictures of prompts, by the person's present taste, without noise."""
    rng = numpy_rng("probe queries", person.id)
    found = []
    for _ in range(n_pairs):
        subject, setting = random_prompt(rng)
        taste = person.taste_for(subject, 1.0, int(rng.integers(2)))
        for liked in (True, False):
            scene = rendering(rng, taste, subject, setting, liked=liked, seed_class="validation")
            found.append((_picture(scene), liked))
    return found


def probe_mllm(mllm: Any, *, n_users: int = N_USERS, seed: int = 0) -> ProbeReport:
    """Both probes on held-out people: several disjoint histories each, and queries read after one history."""
    histories: list[np.ndarray] = []
    queries: list[np.ndarray] = []
    owners: list[int] = []
    numbers: list[int] = []
    query_owners: list[int] = []
    labels: list[int] = []
    for user in range(n_users):
        person = training_person(FIRST_USER + user, "validation")
        own = [painted_history(person, f"probe-{k}") for k in range(N_HISTORIES)]
        histories.append(mllm.encode_batch(own).like.last.numpy())
        owners += [user] * N_HISTORIES
        numbers += range(N_HISTORIES)
        asked = query_pictures(person, N_QUERY_PAIRS)
        queries.append(mllm.query_states(own[0], [image for image, _ in asked]).numpy())
        query_owners += [user] * len(asked)
        labels += [int(liked) for _, liked in asked]
    hidden = np.concatenate(histories).transpose(1, 0, 2)
    hidden_queries = np.concatenate(queries).transpose(1, 0, 2)
    inter = inter_user(hidden, owners, numbers, seed)
    intra = intra_user(hidden_queries, labels, query_owners, seed)
    return ProbeReport(inter=inter, intra=intra, choice=choose_layers(inter, intra))


def save_report(report: ProbeReport, folder: Path) -> None:
    """`probes.json`, and `probes.png` where matplotlib is installed."""
    save_json(folder / "probes.json", report.to_json())
    if find_spec("matplotlib"):
        plot_report(report, folder / "probes.png")


def probe_layers(c: Context) -> None:
    """The training stage: probes the fine-tuned MLLM and saves the layers with the model."""
    if (c.out / "layers.json").exists():
        return
    from prefgen.recipes.people_features import loaded_mllm

    report = probe_mllm(loaded_mllm(c), n_users=min(N_USERS, max(12, c.preset.n_users // 20)), seed=c.preset.seed)
    save_report(report, c.work)
    save_json(c.out / "layers.json", report.choice.to_json())


def probe(model_folder: str | Path = "embedded", out: Path | None = None) -> dict[str, Any]:
    """`prefgen probe`: both curves of a model, with intervals and controls; files into `out` if given."""
    from prefgen.mllm import PreferenceMLLM
    from prefgen.pipeline.loading import folder_of

    report = probe_mllm(PreferenceMLLM.from_pretrained(folder_of(model_folder) / "mllm"))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        save_report(report, out)
    return report.to_json()
