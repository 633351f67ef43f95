"""Probing: which hidden states know who a person is, and which know what that person likes; the choice of layers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from prefgen.agents.painter import paint
from prefgen.agents.people import Person, history_of, random_prompt, rendering, training_person
from prefgen.core import History, HistoryItem, numpy_rng
from prefgen.embedding import PARTS, SideFeatures
from prefgen.pipeline.embed import picture_features
from prefgen.probing import ProbeReport, choose_layers, inter_user, intra_user, plot_people, plot_report
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.context import Context

if TYPE_CHECKING:
    from prefgen.pipeline import PrefGen

N_USERS, N_HISTORIES, N_QUERY_PAIRS, N_MAPPED = 100, 6, 6, 24
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


def embeddings_of(chain: PrefGen, histories: Sequence[History]) -> dict[str, np.ndarray]:
    """Each part of the likes' embedding of every history, float32 [n_histories, d]."""
    encoder = chain.user_encoder.like
    found: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    for history in histories:
        states = chain.mllm.encode(history).like
        images = picture_features([i.image for i in history.liked], chain.image_encoder, chain.feature_extractor)
        weights = torch.tensor([i.weight for i in history.liked])
        given = SideFeatures(last=states.last[None], mean=states.mean[None], images=images[None], weights=weights[None])
        with torch.no_grad():
            parts = encoder.embed(given)
        for part in PARTS:
            found[part].append(parts[part][0].float().numpy())
    return {f"e_{part}": np.stack(rows) for part, rows in found.items()}


def save_map(chain: PrefGen, path: Path, n_users: int = N_MAPPED) -> None:
    """t-SNE of each part of the embedding, of `N_HISTORIES` histories of people nothing was chosen on."""
    people = [training_person(FIRST_USER + user, "validation") for user in range(n_users)]
    histories = [painted_history(person, f"probe-{k}") for person in people for k in range(N_HISTORIES)]
    owners = [user for user in range(n_users) for _ in range(N_HISTORIES)]
    plot_people(embeddings_of(chain, histories), owners, path)


def probe(model_folder: str | Path = "embedded", out: Path | None = None) -> dict[str, Any]:
    """`prefgen probe`: both curves of a model, with intervals and controls; files into `out` if given, a map of people
    (`people.png`) among them where matplotlib is installed."""
    from prefgen.pipeline import PrefGen

    chain = PrefGen.from_pretrained(model_folder, device="cpu")
    report = probe_mllm(chain.mllm)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        save_report(report, out)
        if find_spec("matplotlib"):
            save_map(chain, out / "people.png")
    return report.to_json()
