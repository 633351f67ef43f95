"""Planted signals are found at their layers, and nowhere else."""

import numpy as np
import pytest

from prefgen.core import InputError, numpy_rng
from prefgen.probing import inter_user, intra_user

N_USERS, N_HISTORIES, D = 24, 4, 12
INTER_LAYERS, INTRA_LAYERS = (2, 4), (3, 4)


def planted_histories(seed: int = 0, readings: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five layers; 0 constant, 1 and 3 noise, 2 and 4 hold the user under a far larger shared mean and scale."""
    rng = numpy_rng("planted histories", seed)
    users = np.repeat(np.arange(N_USERS), N_HISTORIES * readings)
    histories = np.tile(np.repeat(np.arange(N_HISTORIES), readings), N_USERS)
    signature = rng.normal(size=(N_USERS, D))
    hidden = rng.normal(size=(5, len(users), D))
    for layer in INTER_LAYERS:
        hidden[layer] += 2.5 * signature[users]
    hidden = 50 + hidden * rng.uniform(0.1, 30, size=D)
    hidden[0] = 7.0
    return hidden.astype(np.float32), users, histories


def planted_queries(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five layers; 3 and 4 hold liked or disliked along one direction that all users share."""
    rng = numpy_rng("planted queries", seed)
    users = np.repeat(np.arange(N_USERS), 12)
    liked = np.tile([1] * 7 + [0] * 5, N_USERS)
    hidden = rng.normal(size=(5, len(users), D)) + 2 * rng.normal(size=(N_USERS, D))[users]
    direction = np.zeros(D)
    direction[3] = 6.0
    for layer in INTRA_LAYERS:
        hidden[layer] += (liked - 0.5)[:, None] * direction
    hidden[0] = 7.0
    return (50 + hidden).astype(np.float32), liked, users


def test_inter_user_finds_the_planted_layers() -> None:
    curve = inter_user(*planted_histories())
    assert curve.n_users == N_USERS
    assert curve.chance == pytest.approx(1 / N_USERS)
    for layer in INTER_LAYERS:
        assert curve.accuracy[layer] > 0.8
        assert 0.6 < curve.low[layer] <= curve.accuracy[layer] <= curve.high[layer] <= 1
    for layer in (1, 3):
        assert curve.low[layer] <= curve.chance + 0.03
        assert curve.accuracy[layer] < 0.15
    assert curve.accuracy[0] == pytest.approx(curve.chance)


def test_intra_user_finds_the_planted_layers() -> None:
    curve = intra_user(*planted_queries())
    assert curve.n_users == N_USERS
    for layer in INTRA_LAYERS:
        assert curve.accuracy[layer] > 0.8
        assert curve.low[layer] > 0.75
    for layer in (1, 2):
        assert abs(curve.accuracy[layer] - 0.5) < 0.1
    assert curve.accuracy[0] == 0.5


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Layers without signal, 24 users: 95 % nominal; holding the fitted probes fixed costs some of it."""
    held = []
    for seed in range(10):
        hidden, liked, users = planted_queries(seed)
        curve = intra_user(hidden[1:3], liked, users, seed, n_shuffles=1)
        held += [low <= 0.5 <= high for low, high in zip(curve.low, curve.high)]
    assert np.mean(held) >= 0.7


@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_labels_score_at_chance_within_the_interval(seed: int) -> None:
    for curve in (inter_user(*planted_histories(seed), seed=seed), intra_user(*planted_queries(seed), seed=seed)):
        for low, high in zip(curve.control_low, curve.control_high):
            assert low - 1e-9 <= curve.chance <= high + 1e-9
        assert np.mean(curve.control) == pytest.approx(curve.chance, abs=0.02)


def test_the_control_is_at_chance_where_some_users_like_far_more_than_others() -> None:
    """A user's share of likes shows in the mean of a telling feature: labels shuffled within users would keep it."""
    rng = numpy_rng("uneven users")
    users = np.repeat(np.arange(40), 12)
    liked = np.tile(np.arange(12), 40) < rng.integers(1, 12, size=40)[users]
    hidden = rng.normal(size=(1, 480, 6)) + 4 * liked[:, None] * np.eye(6)[0]
    curve = intra_user(hidden, liked, users)
    assert curve.accuracy[0] > 0.9
    assert curve.control_low[0] <= 0.5 <= curve.control_high[0]


def test_fitting_twice_is_fitting_once_and_the_seed_decides() -> None:
    histories, queries = planted_histories(), planted_queries()
    assert inter_user(*histories, seed=3) == inter_user(*histories, seed=3)
    assert intra_user(*queries, seed=3) == intra_user(*queries, seed=3)
    assert inter_user(*histories, seed=3).accuracy != inter_user(*histories, seed=4).accuracy
    assert intra_user(*queries, seed=3).control != intra_user(*queries, seed=4).control


def test_the_probes_leave_their_inputs_alone() -> None:
    hidden, users, histories = planted_histories()
    kept = hidden.copy(), users.copy(), histories.copy()
    inter_user(hidden, users, histories, n_shuffles=1)
    for now, before in zip((hidden, users, histories), kept):
        assert np.array_equal(now, before)


def test_names_and_history_ids_may_be_words_and_need_differ_only_within_a_user() -> None:
    hidden, users, histories = planted_histories()
    named = [f"user {user:02d}" for user in users]
    worded = [f"{user}/{history}" for user, history in zip(users, histories)]
    assert (
        inter_user(hidden, named, worded, n_shuffles=2).accuracy
        == inter_user(hidden, users, histories, n_shuffles=2).accuracy
    )


def test_readings_of_one_history_never_stand_on_both_sides() -> None:
    """Each history has a signature of its own and users have none: a probe that split its readings would find it."""
    rng = numpy_rng("own signature")
    _, users, histories = planted_histories(readings=3)
    of_history = rng.normal(size=(N_USERS * N_HISTORIES, D))[users * N_HISTORIES + histories]
    hidden = (of_history + 0.01 * rng.normal(size=of_history.shape))[None]
    curve = inter_user(hidden, users, histories, n_shuffles=1)
    assert curve.accuracy[0] < 0.15


def test_one_history_to_fit_on_and_more_coordinates_than_rows() -> None:
    rng = numpy_rng("wide")
    users = np.repeat(np.arange(100), 2)
    hidden = rng.normal(size=(1, 200, 300)) + 1.5 * rng.normal(size=(100, 300))[users]
    curve = inter_user(hidden, users, np.tile([0, 1], 100), n_shuffles=3)
    assert curve.n_users == 100
    assert curve.accuracy[0] > 0.8
    assert curve.control_low[0] <= 0.01 <= curve.control_high[0]


def test_more_users_than_coordinates_do_not_mask_each_other() -> None:
    """A hundred users on a ring in the plane: nearest means tell them, least squares on indicators would not."""
    rng = numpy_rng("ring")
    users = np.repeat(np.arange(60), 4)
    angle = 2 * np.pi * users / 60
    hidden = (100 * np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(size=(240, 2)))[None]
    assert inter_user(hidden, users, np.tile(np.arange(4), 60), n_shuffles=1).accuracy[0] > 0.9


def test_intra_user_tests_on_users_it_was_not_fitted_on() -> None:
    """Liked lies along a direction of each user's own: nothing that held-out users share."""
    rng = numpy_rng("own direction")
    users = np.repeat(np.arange(N_USERS), 12)
    liked = np.tile([1, 0], N_USERS * 6)
    own = rng.normal(size=(N_USERS, D))[users]
    hidden = (0.1 * rng.normal(size=own.shape) + (liked - 0.5)[:, None] * 4 * own)[None]
    curve = intra_user(hidden, liked, users, n_shuffles=1)
    assert abs(curve.accuracy[0] - 0.5) < 0.2


def test_intra_user_accuracy_is_balanced() -> None:
    """Eleven likes to one dislike and no signal: always answering "like" is worth one half, not eleven twelfths."""
    rng = numpy_rng("unbalanced")
    users, liked = np.repeat(np.arange(30), 12), np.tile([1] * 11 + [0], 30)
    curve = intra_user(rng.normal(size=(1, 360, 6)), liked, users, n_shuffles=5)
    assert 0.35 < curve.accuracy[0] < 0.65
    assert 0.4 < curve.control[0] < 0.6


def test_a_probe_says_what_it_cannot_use() -> None:
    hidden, users, histories = planted_histories()
    with pytest.raises(InputError, match=r"2 disjoint histories of each user.*1 of user 0"):
        inter_user(hidden[:, 3:], users[3:], histories[3:])
    with pytest.raises(InputError, match="at least 2 users"):
        inter_user(hidden[:, :4], users[:4], histories[:4])
    with pytest.raises(InputError, match="entry of user_ids"):
        inter_user(hidden, users[1:], histories)
    with pytest.raises(InputError, match=r"\[layers, rows, d\]"):
        inter_user(hidden[0], users, histories)
    hidden[3, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"layers \[3\]"):
        inter_user(hidden, users, histories)


def test_intra_user_says_what_it_cannot_use() -> None:
    hidden, liked, users = planted_queries()
    with pytest.raises(InputError, match="labels 1"):
        intra_user(hidden, liked * 2, users)
    with pytest.raises(InputError, match=r"only one side of \[0\]"):
        intra_user(hidden, np.where(users == 0, 1, liked), users)
    with pytest.raises(InputError, match="at least 2 users"):
        intra_user(hidden, liked, np.zeros_like(users))
