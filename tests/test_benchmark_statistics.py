"""Intervals against truths that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from prefgen.benchmark.statistics import (
    calibration_error,
    calibration_interval,
    difference_interval,
    gain_interval,
    holm,
    mean_interval,
    p_value_above,
    ratio_interval,
)
from prefgen.core import InputError


def test_the_interval_of_a_mean_is_the_normal_one_for_many_users() -> None:
    values = np.random.default_rng(0).normal(2.0, 3.0, 400)
    got = mean_interval(values)
    half = 1.96 * values.std() / 20
    assert got.n == 400
    assert got.value == pytest.approx(values.mean())
    assert got.low == pytest.approx(values.mean() - half, abs=0.06)
    assert got.high == pytest.approx(values.mean() + half, abs=0.06)


def test_a_paired_difference_is_narrower_than_its_parts() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 5, 60)
    a, b = shared + 0.5 + rng.normal(0, 0.1, 60), shared
    assert difference_interval(a, b).low > 0.4
    assert mean_interval(a).low < 0 < mean_interval(a).high


def test_a_gain_is_a_ratio_of_means_and_is_never_clipped() -> None:
    prompt, ceiling = np.zeros(4), np.array([1.0, 3.0, 1.0, 3.0])
    got = gain_interval(np.array([0.0, 6.0, 0.0, 6.0]), prompt, ceiling)
    assert got.value == pytest.approx(1.5)
    assert gain_interval(-ceiling, prompt, ceiling).value == pytest.approx(-1.0)
    assert gain_interval(ceiling, prompt, ceiling).low == pytest.approx(1.0)


def test_a_ratio_over_nothing_is_not_said_and_a_doubtful_denominator_widens_without_bound() -> None:
    assert np.isnan(ratio_interval(np.ones(5), np.zeros(5)).value)
    doubtful = np.array([-1.0, 1.0, -1.0, 1.2])
    assert np.isinf(ratio_interval(np.ones(4), doubtful).high)


def test_users_without_a_value_are_left_out_of_every_column() -> None:
    a, b = np.array([1.0, np.nan, 3.0]), np.array([0.0, 5.0, 1.0])
    assert difference_interval(a, b).n == 2
    assert difference_interval(a, b).value == pytest.approx(1.5)
    assert mean_interval(np.array([np.nan])).n == 0
    with pytest.raises(InputError, match="a value of every user"):
        difference_interval(a, b[:2])


def test_holm_multiplies_the_smallest_by_the_number_of_comparisons_and_never_falls() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == pytest.approx({"b": 1.0, "a": 1.0})
    assert p_value_above(np.ones(9), np.zeros(9)) < 0.001
    assert p_value_above(np.zeros(9), np.ones(9)) == pytest.approx(1.0)


def test_calibration_error_is_zero_for_honest_probabilities() -> None:
    p = np.repeat([0.25, 0.75], 400)
    y = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0])
    assert calibration_error(p, y) == pytest.approx(0.0)
    assert calibration_error(np.full(10, 0.95), np.zeros(10)) == pytest.approx(0.95)
    got = calibration_interval(np.full((6, 2), 0.5), np.tile([1.0, 0.0], (6, 1)))
    assert (got.value, got.n) == (pytest.approx(0.0), 6)
