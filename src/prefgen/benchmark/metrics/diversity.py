"""How different a person's pictures of one prompt are, seen by features that no attribute head can read.

The features are the judge's, projected onto what is orthogonal to every weight of its heads for worded values, looks
and traits: two pictures that differ only in what those heads can tell lie (to first order) in one place, so a method
is not called diverse for changing the style the person asked for, nor uniform for keeping it. What remains is the
subject's shape, its pose and side, and the scene's layout.
"""

from __future__ import annotations

import numpy as np

from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import mean_interval, ratio_interval


def mean_distance(features: np.ndarray) -> float:
    """Mean Euclidean distance over all pairs of rows; nan with fewer than two rows."""
    n = len(features)
    if n < 2:
        return float("nan")
    distances = np.linalg.norm(features[:, None] - features[None], axis=-1)
    return float(distances.sum() / (n * (n - 1)))


def user_diversity(results: Results, method: str) -> np.ndarray:
    """float [n_users]: mean over a user's prompts of the mean distance between that prompt's pictures."""
    structure = results.readings[method].structure
    out = np.full(len(results.cases), np.nan)
    for case in results.cases:
        groups: dict[int, list[int]] = {}
        for i in results.tasks_of(case.user):
            if results.tasks[i].kind == "ordinary":
                groups.setdefault(results.tasks[i].prompt_index, []).append(int(i))
        distances = [mean_distance(structure[places]) for places in groups.values() if len(places) > 1]
        if distances:
            out[case.user] = float(np.mean(distances))
    return out


class Diversity:
    """`diversity`, and `diversity_of_oracle`, the ratio."""

    name = "diversity"

    def measure(self, results: Results) -> list[Row]:
        """Rows for every method."""
        values = {m: user_diversity(results, m) for m in results.methods}
        rows = [row(m, self.name, mean_interval(v)) for m, v in values.items()]
        if "oracle" in values:
            others = [m for m in values if m != "oracle"]
            rows += [row(m, "diversity_of_oracle", ratio_interval(values[m], values["oracle"])) for m in others]
        return rows
