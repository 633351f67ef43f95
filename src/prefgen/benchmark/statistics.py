"""Intervals by resampling users, differences, ratios of means, and the correction for many comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from prefgen.core import InputError, numpy_rng

N_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its 95 % interval over `n` users; nan where it cannot be said."""

    value: float
    low: float
    high: float
    n: int


NOT_SAID = Estimate(value=float("nan"), low=float("nan"), high=float("nan"), n=0)


@lru_cache(maxsize=16)
def resampling_weights(n_users: int, n_resamples: int = N_RESAMPLES, seed: int = 0) -> np.ndarray:
    """float64 [n_resamples, n_users]: each row says how often each user is drawn, over n_users.

    The same for every figure of as many users, so that all comparisons are paired.
    """
    rng = numpy_rng("bootstrap", n_users, seed)
    return rng.multinomial(n_users, np.full(n_users, 1 / n_users), n_resamples) / n_users


def percentile_interval(value: float, resampled: np.ndarray, n: int) -> Estimate:
    """A figure with the middle 95 % of its resampled values; those that are nan are left out."""
    low, high = np.nanpercentile(resampled, [2.5, 97.5]) if np.isfinite(resampled).any() else (np.nan, np.nan)
    return Estimate(value=float(value), low=float(low), high=float(high), n=n)


def _complete(*columns: np.ndarray) -> list[np.ndarray]:
    """The columns without the users who lack a value in any of them."""
    given = [np.asarray(c, dtype=np.float64) for c in columns]
    if len({c.shape for c in given}) != 1:
        raise InputError(f"expected a value of every user in each column, got {[len(c) for c in given]}")
    keep = np.all([np.isfinite(c) for c in given], axis=0)
    return [c[keep] for c in given]


def mean_interval(values: np.ndarray) -> Estimate:
    """The mean over users. `values` [n_users], nan for a user without one."""
    (values,) = _complete(values)
    if not len(values):
        return NOT_SAID
    return percentile_interval(values.mean(), resampling_weights(len(values)) @ values, len(values))


def crossed_sums(table: np.ndarray, n_resamples: int = N_RESAMPLES) -> np.ndarray:
    """float64 [n_resamples, ...]: sums over raters and units of a `table` [n_raters, n_units, ...], both resampled,
    each by itself, so that the figures hold for other raters and for other units.

    Owen (2007), "The pigeonhole bootstrap"; its intervals are, if anything, too wide.
    """
    n_raters, n_units = table.shape[:2]
    raters = resampling_weights(n_raters, n_resamples, seed=1) * n_raters
    units = resampling_weights(n_units, n_resamples) * n_units
    columns = np.moveaxis(table.reshape(n_raters, n_units, -1).astype(np.float64), -1, 0)
    sums = np.stack([((raters @ column) * units).sum(1) for column in columns], axis=-1)
    return sums.reshape(n_resamples, *table.shape[2:])


def share_interval(n_right: int, n: int) -> tuple[float, float]:
    """Lower and upper end of a 95 % Wilson interval for a share of `n` trials: for small `n`, where shares of 0 and 1
    must not look certain."""
    z2 = 1.959964**2
    centre = (n_right + z2 / 2) / (n + z2)
    half = (z2 * (n_right * (n - n_right) / n + z2 / 4)) ** 0.5 / (n + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def difference_interval(a: np.ndarray, b: np.ndarray) -> Estimate:
    """The mean of `a - b`, paired by user."""
    a, b = _complete(a, b)
    return mean_interval(a - b)


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
    """The ratio of the means over users, both means resampled with the same users; never clipped.

    Resamples whose denominator is not above 0 say nothing about a ratio; they count as unbounded on both sides, so
    that a denominator near 0 widens the interval instead of hiding.
    """
    a, b = _complete(numerator, denominator)
    if not len(a) or b.mean() <= 0:
        return NOT_SAID
    weights = resampling_weights(len(a))
    tops, bottoms = weights @ a, weights @ b
    ratios = tops / np.where(bottoms > 0, bottoms, 1.0)
    low = np.percentile(np.where(bottoms > 0, ratios, -np.inf), 2.5, method="lower")
    high = np.percentile(np.where(bottoms > 0, ratios, np.inf), 97.5, method="higher")
    return Estimate(value=float(a.mean() / b.mean()), low=float(low), high=float(high), n=len(a))


def gain_interval(method: np.ndarray, prompt: np.ndarray, ceiling: np.ndarray) -> Estimate:
    """`(Ū_method - Ū_prompt) / (Ū_ceiling - Ū_prompt)`: a ratio of means over users."""
    method, prompt, ceiling = _complete(method, prompt, ceiling)
    return ratio_interval(method - prompt, ceiling - prompt)


def p_value_above(a: np.ndarray, b: np.ndarray) -> float:
    """One-sided bootstrap p-value against "a is not above b": the share of resampled differences at or below 0."""
    a, b = _complete(a, b)
    if not len(a):
        return float("nan")
    differences = resampling_weights(len(a)) @ (a - b)
    return float((np.count_nonzero(differences <= 0) + 1) / (len(differences) + 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction (1979): adjusted p-values, valid for all comparisons together.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted, worst = {}, 0.0
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    for rank, (name, p) in enumerate(ordered):
        worst = max(worst, min(1.0, (len(ordered) - rank) * p))
        adjusted[name] = worst
    return adjusted


def pairs_interval(pairs: np.ndarray) -> Estimate:
    """The mean over pairs of different users of a symmetric figure [n_users, n_users].

    A U-statistic of order 2. A user drawn twice makes no pair with themselves, for that would count their pictures'
    likeness to themselves (Arcones and Gine, Annals of Statistics 1992, on bootstrapping U-statistics).
    """
    n = len(pairs)
    if n < 2:
        return NOT_SAID
    off = pairs - np.diag(np.diag(pairs))
    counts = resampling_weights(n) * n
    n_pairs = n**2 - (counts**2).sum(1)
    resampled = ((counts @ off) * counts).sum(1)[n_pairs > 0] / n_pairs[n_pairs > 0]
    return percentile_interval(off.sum() / (n * (n - 1)), resampled, n)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = 10) -> float:
    """Expected calibration error over equal-width bins of the probability of yes; answers that are nan are left out."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    p, y = p[np.isfinite(p)], y[np.isfinite(p)]
    bins = np.minimum((p * n_bins).astype(int), n_bins - 1)
    gaps = np.abs(np.bincount(bins, p - y, n_bins))
    return float(gaps.sum() / max(len(p), 1))


def calibration_interval(probabilities: np.ndarray, labels: np.ndarray, n_resamples: int = 400) -> Estimate:
    """`calibration_error` over [n_users, n_queries], users resampled whole."""
    n = len(probabilities)
    if not n:
        return NOT_SAID
    counts = np.rint(resampling_weights(n)[:n_resamples] * n).astype(int)
    resampled = [
        calibration_error(np.repeat(probabilities, c, 0).ravel(), np.repeat(labels, c, 0).ravel()) for c in counts
    ]
    return percentile_interval(calibration_error(probabilities.ravel(), labels.ravel()), np.array(resampled), n)
