"""Inter-user discrimination: can a linear probe name the person from a hidden state?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prefgen.core import InputError, numpy_rng
from prefgen.probing._cross_fit import cross_fit
from prefgen.probing._inputs import check_hidden, dealt_folds, numbered
from prefgen.probing.curve import ProbeCurve, curve_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def inter_user(
    hidden: Float[np.ndarray, "layers rows d"],
    user_ids: Sequence[Any] | np.ndarray,
    history_ids: Sequence[Any] | np.ndarray,
    seed: int = 0,
    *,
    n_folds: int = 2,
    n_shuffles: int = 20,
) -> ProbeCurve:
    """Top-1 accuracy of naming the user among all `n_users` given, at every layer.

    `hidden` holds one row for each reading of a history, `user_ids` and `history_ids` say of whom and which (history
    ids need differ only within a user). Each user's histories are dealt at random into `n_folds`; the histories of one
    fold are named by a probe fitted on those of the others, so every history is tested once and rows of one history
    never stand on both sides. That the histories share no picture is for the caller to see to.

    The control permutes the users of the fitted histories, `n_shuffles` times, and tests against the true ones: chance
    is `1 / n_users`. Deterministic in `seed`. Raises `InputError` for fewer than two users, or for a user with fewer
    than `n_folds` histories.

    Source: the probing of PrefGen, arXiv 2512.06020; folds, classifier, control and intervals are *ours*.
    """
    check_hidden(hidden, user_ids=user_ids, history_ids=history_ids)
    users, user = numbered(user_ids)
    pairs = np.stack([user, numbered(history_ids)[1]], axis=1)
    histories, history = np.unique(pairs, axis=0, return_inverse=True)
    owner, history = histories[:, 0], history.reshape(-1)
    fold = _folds_within_users(owner, users, n_folds, numpy_rng("inter_user_folds", seed))

    def labelings(fold_left_out: int) -> Int[np.ndarray, "labelings rows"]:
        rng = numpy_rng("inter_user_control", seed, fold_left_out)
        fitted = np.flatnonzero(fold != fold_left_out)
        shuffled = np.tile(owner, (1 + n_shuffles, 1))
        for row in shuffled[1:]:
            row[fitted] = rng.permutation(row[fitted])
        return shuffled[:, history]

    correct = cross_fit(hidden, user, fold[history], labelings, len(users))
    of_user = np.eye(len(users))[user]
    per_user = correct @ (of_user / of_user.sum(0))
    rng = numpy_rng("inter_user_bootstrap", seed)
    return curve_of("inter_user", per_user[:, 0], per_user[:, 1:], chance=1 / len(users), seed=seed, rng=rng)


def _folds_within_users(
    owner: Int[np.ndarray, " histories"], users: list[Any], n_folds: int, rng: np.random.Generator
) -> Int[np.ndarray, " histories"]:
    """A fold for every history, so that every user has histories in every fold."""
    n_histories = np.bincount(owner)
    if len(users) < 2 or n_folds < 2 or n_histories.min() < n_folds:
        fewest = int(n_histories.argmin())
        raise InputError(
            f"expected at least 2 users, 2 folds, and {max(n_folds, 2)} disjoint histories of each user, "
            f"got {len(users)} users, {n_folds} folds, and {n_histories[fewest]} of user {users[fewest]!r}",
            hint="leave out users with too few pictures, or split their pictures into shorter histories",
        )
    fold = np.empty(len(owner), dtype=np.int64)
    for user, n in enumerate(n_histories):
        fold[owner == user] = dealt_folds(int(n), n_folds, rng)
    return fold
