"""Probabilities that mean what they say: temperature scaling and the calibration error."""

from __future__ import annotations

import numpy as np


def fit_temperature(margins: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes `σ(margin / T)` likeliest. `margins` are l_yes - l_no, `labels` booleans.

    Golden-section search over log T in [-3, 3]; the likelihood is unimodal in it.
    """
    margins, signs = np.asarray(margins, dtype=np.float64), np.where(np.asarray(labels, dtype=bool), 1.0, -1.0)

    def loss(log_t: float) -> float:
        return float(np.logaddexp(0, -signs * margins * np.exp(-log_t)).mean())

    low, high, ratio = -3.0, 3.0, (5**0.5 - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if loss(a) <= loss(b):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = 10) -> float:
    """Expected calibration error over equal-width bins of P(yes)."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    bins = np.minimum((p * n_bins).astype(int), n_bins - 1)
    gaps = [
        abs(p[bins == b].mean() - y[bins == b].mean()) * (bins == b).mean() for b in range(n_bins) if (bins == b).any()
    ]
    return float(sum(gaps))
