"""How like a person's own pictures a method's pictures are: nearer to what they like than to what they dislike?"""

from __future__ import annotations

import numpy as np

from prefgen.benchmark.metrics.gain import OURS
from prefgen.benchmark.metrics.prefdisc import DISLIKED, LIKED
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import difference_interval, mean_interval
from prefgen.benchmark.tasks import mask_of


def unit_rows(features: np.ndarray) -> np.ndarray:
    """float64 [n, d]: each row of length 1; a row of zeros stays."""
    wide = np.asarray(features, dtype=np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def own_likeness(results: Results, made: np.ndarray, own: np.ndarray) -> np.ndarray:
    """float [n_users]: the mean cosine between each of a user's pictures and each of their own held-out ones.

    `made` and `own` [n_tasks, d]; ordinary tasks count. Subjects differ between the two, so what is like is the manner.
    """
    made, own = unit_rows(made), unit_rows(own)
    owners, ordinary = results.owners, mask_of(results.tasks, "ordinary")
    out = np.full(len(results.cases), np.nan)
    for case in results.cases:
        mine = ordinary & (owners == case.user)
        if mine.any():
            out[case.user] = made[mine].mean(0) @ own[mine].mean(0)
    return out


def likeness_rows(results: Results, name: str, features: dict[str, np.ndarray]) -> list[Row]:
    """`name`: likeness to held-out likes; `name_liked_minus_disliked`: less that to held-out dislikes of the same
    prompts, in which what all pictures share cancels; and ours minus each rival's of the latter, paired by person.

    `features` [n_tasks, d] of every method, and of both sides of the held-out pairs.
    """
    liked, disliked = features[LIKED], features[DISLIKED]
    likes = {m: own_likeness(results, features[m], liked) for m in results.methods}
    gaps = {m: likes[m] - own_likeness(results, features[m], disliked) for m in results.methods}
    rows = [row(m, name, mean_interval(v)) for m, v in likes.items()]
    gap = f"{name}_liked_minus_disliked"
    rows += [row(m, gap, mean_interval(v)) for m, v in gaps.items()]
    if OURS in gaps:
        rivals = [m for m in gaps if m not in (OURS, "painter")]
        rows += [row(OURS, f"{gap}_above:{m}", difference_interval(gaps[OURS], gaps[m])) for m in rivals]
    return rows
