"""Intra-user discrimination: can a linear probe tell what this person likes from what this person dislikes?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prefgen.core import InputError, numpy_rng
from prefgen.probing._cross_fit import cross_fit
from prefgen.probing._inputs import check_hidden, dealt_folds, numbered
from prefgen.probing.curve import ProbeCurve, curve_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def intra_user(
    hidden_queries: Float[np.ndarray, "layers rows d"],
    labels: Sequence[Any] | np.ndarray,
    user_ids: Sequence[Any] | np.ndarray,
    seed: int = 0,
    *,
    n_folds: int = 5,
    n_shuffles: int = 20,
) -> ProbeCurve:
    """Accuracy of telling liked from disliked queries of users the probe was not fitted on, at every layer.

    `hidden_queries` holds one row for each query picture read after its user's history, `labels` is 1 (or True) where
    this user likes it and 0 where not. Users are dealt at random into `n_folds` (at most one a user) and each fold is
    tested by a probe fitted on the others, so the probe finds a direction that means "liked by whoever this is".
    A user's accuracy is the mean over liked and disliked queries of the share told rightly (balanced: chance is ½
    whatever the mix), and every user counts once.

    The control shuffles the labels of the fitted rows, `n_shuffles` times, and tests against the true ones. It shuffles
    across users: within them it would keep who likes much and who likes little, and with that some of the signal.
    Deterministic in `seed`. Raises `InputError` for fewer than two users, for labels other than 0 and 1, and for a user
    without queries on both sides, whose accuracy would have no fixed chance level.

    Source: the probing of PrefGen, arXiv 2512.06020; folds, classifier, control and intervals are *ours*.
    """
    check_hidden(hidden_queries, labels=labels, user_ids=user_ids)
    users, user = numbered(user_ids)
    liked = _liked(labels)
    of_user = np.eye(len(users))[user]
    _check_sides(liked, of_user, users, n_folds)
    n_folds = min(n_folds, len(users))
    fold = dealt_folds(len(users), n_folds, numpy_rng("intra_user_folds", seed))

    def labelings(fold_left_out: int) -> Int[np.ndarray, "labelings rows"]:
        rng = numpy_rng("intra_user_control", seed, fold_left_out)
        fitted = np.flatnonzero(fold[user] != fold_left_out)
        shuffled = np.tile(liked.astype(np.int64), (1 + n_shuffles, 1))
        for row in shuffled[1:]:
            row[fitted] = rng.permutation(row[fitted])
        return shuffled

    correct = cross_fit(hidden_queries, liked.astype(np.int64), fold[user], labelings, 2)
    sides = [of_user * side[:, None] for side in (liked, ~liked)]
    per_user = np.mean([correct @ (side / side.sum(0)) for side in sides], axis=0)
    rng = numpy_rng("intra_user_bootstrap", seed)
    return curve_of("intra_user", per_user[:, 0], per_user[:, 1:], chance=0.5, seed=seed, rng=rng)


def _liked(labels: Sequence[Any] | np.ndarray) -> Bool[np.ndarray, " rows"]:
    values = np.asarray(labels)
    if not np.isin(values, [0, 1]).all():
        raise InputError(f"expected labels 1 (liked) and 0 (disliked), got {sorted(set(values.tolist()))[:5]}")
    return values.astype(bool)


def _check_sides(
    liked: Bool[np.ndarray, " rows"], of_user: Float[np.ndarray, "rows users"], users: list[Any], n_folds: int
) -> None:
    if len(users) < 2 or n_folds < 2:
        raise InputError(f"expected at least 2 users and 2 folds, got {len(users)} and {n_folds}")
    n_liked, n_disliked = of_user[liked].sum(0), of_user[~liked].sum(0)
    one_sided = [user for user, a, b in zip(users, n_liked, n_disliked) if not min(a, b)]
    if one_sided:
        raise InputError(
            f"expected liked and disliked queries of every user, got only one side of {one_sided[:3]}",
            hint="leave such users out of this probe",
        )
