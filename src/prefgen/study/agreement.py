"""Krippendorff's alpha for names: how far raters agree beyond chance, whoever of them answered what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prefgen.benchmark.statistics import NOT_SAID, Estimate, percentile_interval, resampling_weights


def coincidences(values: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """float64 [n_names, n_names]: ordered pairs of different raters' values of one unit, each over their number less 1.

    A unit with fewer than two values says nothing: zeros.
    """
    counts = np.array([sum(value == name for value in values) for name in names], dtype=np.float64)
    n = counts.sum()
    return (np.outer(counts, counts) - np.diag(counts)) / (n - 1) if n > 1 else np.zeros((len(names), len(names)))


def alpha_of(table: np.ndarray) -> np.ndarray:
    """Alpha from coincidences [..., n_names, n_names]; nan where all values are one.

    `alpha = 1 - (n - 1) (n - Σ o_cc) / (n² - Σ n_c²)`: Krippendorff (2011), "Computing Krippendorff's
    Alpha-Reliability", nominal data with missing values.
    """
    of_name = table.sum(-1)
    n = of_name.sum(-1)
    agreed = np.trace(table, axis1=-2, axis2=-1)
    expected = n**2 - (of_name**2).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 1e-9, 1 - (n - 1) * (n - agreed) / expected, np.nan)


def krippendorff_alpha(units: Mapping[str, Sequence[str]]) -> Estimate:
    """Alpha over units (name to the raters' values, in any order), with an interval by resampling the units that two or
    more raters valued; `n` is their number.

    >>> round(krippendorff_alpha({"1": ["left", "left"], "2": ["right", "right"], "3": ["left", "right"]}).value, 3)
    0.444
    """
    names = sorted({value for values in units.values() for value in values})
    tables = [coincidences(values, names) for values in units.values() if len(values) > 1]
    if not tables:
        return NOT_SAID
    stacked = np.stack(tables)
    resampled = np.tensordot(resampling_weights(len(stacked)) * len(stacked), stacked, axes=1)
    return percentile_interval(float(alpha_of(stacked.sum(0))), alpha_of(resampled), len(stacked))
