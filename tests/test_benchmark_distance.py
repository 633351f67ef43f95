"""KID and CMMD against hand-computed values, all subsets one by one, and halves of one distribution."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from prefgen.alignment import gaussian_kernel, mmd2_unbiased, polynomial_kernel
from prefgen.benchmark.distance import pairs_of_people
from prefgen.benchmark.metrics.cmmd import cmmd_kernel
from prefgen.benchmark.statistics import pairs_interval
from prefgen.core import InputError, numpy_rng


def kid(made: np.ndarray, liked: np.ndarray, owners: np.ndarray) -> float:
    return pairs_interval(pairs_of_people(polynomial_kernel, made, liked, owners)).value


def cmmd(made: np.ndarray, liked: np.ndarray, owners: np.ndarray) -> float:
    return pairs_interval(pairs_of_people(cmmd_kernel, made, liked, owners)).value


def test_kid_equals_the_value_worked_out_by_hand() -> None:
    made, liked = np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([[0.0, 0.0], [2.0, 0.0]])
    # k(x0, x1) = (0/2 + 1)^3 = 1; k(y0, y1) = 1; k(x0, y1) = (2/2 + 1)^3 = 8; k(x1, y0) = 1
    assert kid(made, liked, np.array([0, 1])) == pytest.approx(1 + 1 - 8 - 1)


def test_cmmd_equals_the_value_worked_out_by_hand() -> None:
    made, liked = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [-1.0, 0.0]])
    # squared distances: x0x1 2, y0y1 4, x0y1 4, x1y0 2; bandwidth 10, so k = exp(-d / 200)
    k2, k4 = math.exp(-2 / 200), math.exp(-4 / 200)
    assert cmmd(made, liked, np.array([0, 1])) == pytest.approx(1000 * (k2 + k4 - k4 - k2), abs=1e-9)
    assert cmmd(made, -made, np.array([0, 1])) == pytest.approx(1000 * (2 * k2 - 2 * k2), abs=1e-9)
    swapped = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert cmmd(made, swapped, np.array([0, 1])) == pytest.approx(1000 * (2 * k2 - 2), abs=1e-9)


def test_the_closed_form_is_the_mean_over_all_subsets_of_one_picture_a_person() -> None:
    rng = numpy_rng("subsets")
    owners = np.array([0, 0, 1, 2, 2, 2])
    made, liked = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    places = [np.flatnonzero(owners == u) for u in range(3)]
    choices = list(product(*places))
    each = [kid(made[list(a)], liked[list(b)], np.arange(3)) for a in choices for b in choices]
    assert kid(made, liked, owners) == pytest.approx(np.mean(each))
    assert np.std(each) > 0.1


@pytest.mark.parametrize("distance", [kid, cmmd])
def test_halves_of_one_distribution_lie_apart_by_0_on_average_though_people_differ(distance) -> None:
    owners = np.repeat(np.arange(12), 3)
    same, apart = [], []
    for k in range(150):
        rng = numpy_rng("halves", k)
        own = rng.normal(size=(12, 4))[owners]  # each person is alike in both halves, and unlike the others
        made, liked = (own + rng.normal(size=(36, 4)) for _ in range(2))
        same.append(distance(made, liked, owners))
        apart.append(distance(made + 1.0, liked, owners))
    error = np.std(same) / np.sqrt(len(same))
    assert abs(np.mean(same)) < 3 * error
    assert np.mean(apart) > 10 * error
    assert min(same) < 0, "an unbiased estimate may lie below 0"


def test_with_one_picture_a_person_it_is_the_two_sample_estimate_but_for_the_own_pairs() -> None:
    rng = numpy_rng("two sample")
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 3)) + 0.5
    got = cmmd(x, y, np.arange(40)) / 1000
    cross = gaussian_kernel(torch.tensor(x), torch.tensor(y), 10.0).numpy()
    own_pairs = 2 * (cross.mean() - (cross.sum() - np.trace(cross)) / (40 * 39))
    assert got == pytest.approx(float(mmd2_unbiased(torch.tensor(x), torch.tensor(y), [10.0])) + own_pairs, abs=1e-12)


def test_the_interval_over_people_covers_the_truth_and_shrinks_with_people() -> None:
    truth, hits, widths = 0.25, 0, {}
    for n in (20, 80):
        widths[n] = []
        for k in range(40):
            z = numpy_rng("pairs", n, k).normal(0.5, 1.0, n)
            got = pairs_interval(np.outer(z, z))  # mean over pairs of z_u·z_v: expectation 0.5² = 0.25
            hits += got.low <= truth <= got.high
            widths[n].append(got.high - got.low)
            assert got.low <= got.value <= got.high
    assert hits >= 0.85 * 80
    assert np.mean(widths[80]) < 0.65 * np.mean(widths[20])


def test_one_person_makes_no_pair_and_the_diagonal_counts_for_nothing() -> None:
    assert np.isnan(pairs_interval(np.ones((1, 1))).value)
    pairs = np.full((5, 5), 2.0)
    np.fill_diagonal(pairs, 1e9)
    got = pairs_interval(pairs)
    assert (got.value, got.low, got.high, got.n) == (pytest.approx(2.0), pytest.approx(2.0), pytest.approx(2.0), 5)


def test_kernels_refuse_clouds_of_two_widths() -> None:
    with pytest.raises(InputError, match="one width"):
        polynomial_kernel(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(InputError, match="one width"):
        gaussian_kernel(torch.zeros(2, 3), torch.zeros(2, 4), 1.0)
