"""How often the person would rather have the method's picture than the plain one of the same prompt and seed."""

from __future__ import annotations

import numpy as np

from prefgen.benchmark.results import Results, Row

TIE = 1e-3
"""Utilities nearer than this are a tie, which counts one half."""


def wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """1 where ours is worth more, 0 where less, one half for ties."""
    return np.where(np.abs(ours - theirs) <= TIE, 0.5, (ours > theirs).astype(float))


class WinRate:
    """`win_rate` by total utility and `win_rate_worded` by worded utility alone (all that the oracle is told)."""

    name = "win_rate"

    def measure(self, results: Results) -> list[Row]:
        """Rows for every method but the prompt."""
        if "prompt" not in results.methods:
            return []
        plain = results.utility("prompt")
        rows: list[Row] = []
        for method in results.methods:
            if method != "prompt":
                ours = results.utility(method)
                rows.append(results.mean(method, self.name, wins(ours.total, plain.total)))
                rows.append(results.mean(method, f"{self.name}_worded", wins(ours.worded, plain.worded)))
        return rows
