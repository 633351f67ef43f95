"""Bradley–Terry: one strength for each method, from who was chosen over whom."""

from __future__ import annotations

import numpy as np

N_STEPS, LARGEST_STEP, CLOSE = 100, 2.0, 1e-10
VIRTUAL_TIES = 1.0


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Log-strengths float64 [..., n_methods] with mean 0 from `wins` float64 [..., n_methods, n_methods], where
    `wins[i, j]` says how often i was chosen over j and a tie counts half for each.

    `P(i over j) = 1 / (1 + exp(s_j - s_i))`: Bradley and Terry (1952), fitted by Newton's method. Each pair that was
    compared gets one virtual tie, so that a method that never lost is strong and not infinitely so; beside many answers
    it does not matter.

    Raises `ValueError` where the comparisons do not connect all methods: their strengths have no common scale then.
    """
    n = wins.shape[-1]
    both = wins + np.swapaxes(wins, -1, -2)
    compared = both.reshape(-1, n, n).sum(0) > 0
    if len(unconnected(compared)) > 1:
        raise ValueError("comparisons that do not connect all methods")
    padded = wins + np.where(compared, VIRTUAL_TIES / 2, 0.0)
    trials = padded + np.swapaxes(padded, -1, -2)
    strengths = np.zeros(wins.shape[:-1])
    for _ in range(N_STEPS):
        p = 1 / (1 + np.exp(strengths[..., None, :] - strengths[..., :, None]))
        slope = (padded - trials * p).sum(-1)
        curve = trials * p * (1 - p)
        information = -curve + np.eye(n) * curve.sum(-1)[..., None] + 1 / n  # + 1/n pins the mean, which is free
        step = np.linalg.solve(information, slope[..., None])[..., 0]
        step *= np.minimum(1, LARGEST_STEP / np.maximum(np.abs(step).max(-1, keepdims=True), 1e-300))
        strengths = strengths + step
        if np.abs(step).max() < CLOSE:
            break
    return strengths - strengths.mean(-1, keepdims=True)


def unconnected(compared: np.ndarray) -> list[list[int]]:
    """Groups of methods that are compared with one another, directly or through others. `compared` bool [n, n]."""
    groups: list[list[int]] = []
    left = set(range(len(compared)))
    while left:
        group, edge = [], [min(left)]
        while edge:
            one = edge.pop()
            if one in left:
                left.remove(one)
                group.append(one)
                edge += [int(k) for k in np.flatnonzero(compared[one]) if int(k) in left]
        groups.append(sorted(group))
    return groups
