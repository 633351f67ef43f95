"""Whether a person of two tastes gets both, each whole, or a blend of the two.

A picture belongs to a mode if it is worth more than 0 to that mode's taste and at least 0.1 more than to the other's;
a picture that belongs to neither is a blend. Only people whose handed pictures show a truly liked one of each mode
count: of the others nobody could know.
"""

from __future__ import annotations

import numpy as np

from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import mean_interval
from prefgen.benchmark.tasks import Case
from prefgen.benchmark.utility import taste_utility

MARGIN = 0.1
LEAST_SHARE = 1 / 8
"""Each mode must own at least this share of a person's pictures (2 of 16), and at least one."""


def shows_both_modes(case: Case) -> bool:
    """Whether the handed pictures tell of both tastes."""
    return {s.mode for s in case.shelf.shown if s.liked and s.truly_liked} == {0, 1}


def mode_shares(results: Results, method: str, case: Case) -> np.ndarray:
    """float [3]: the shares of a two-mode person's pictures that belong to the first mode, the second, and neither."""
    places = [int(i) for i in results.tasks_of(case.user) if results.tasks[i].kind == "ordinary"]
    reading = results.readings[method].rows(places)
    first, second = (taste_utility(reading, t).total for t in case.person.tastes)
    owned = [(first > 0) & (first - second >= MARGIN), (second > 0) & (second - first >= MARGIN)]
    return np.array([owned[0].mean(), owned[1].mean(), (~owned[0] & ~owned[1]).mean()])


class TwoModes:
    """`two_modes_both`, the share of two-mode people who get both modes; `two_modes_blend`, the share of blends."""

    name = "two_modes"

    def measure(self, results: Results) -> list[Row]:
        """Rows for every method, if there is anyone of two modes."""
        people = [c for c in results.cases if c.person.kind == "two_mode" and shows_both_modes(c)]
        rows: list[Row] = []
        for method in results.methods if people else ():
            shares = np.stack([mode_shares(results, method, c) for c in people])
            both = (shares[:, :2].min(1) >= LEAST_SHARE).astype(float)
            rows.append(row(method, "two_modes_both", mean_interval(both)))
            rows.append(row(method, "two_modes_blend", mean_interval(shares[:, 2])))
        return rows
