"""How much of what could be gained is gained: worded taste against the oracle, wordless taste against the painter.

`gain = (Ū_method - Ū_prompt) / (Ū_oracle - Ū_prompt)` on worded utility, `gain_wordless` the same with the painter in
place of the oracle on wordless utility: ratios of means over users, never clipped. Both are said only while the
prompt alone shows its subject on 90 % of pictures and the oracle gains 0.6 of what the painter does: below these
floors the generator, not the method, would be measured.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from prefgen.benchmark.metrics.subject_accuracy import subject_hits
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import (
    NOT_SAID,
    Estimate,
    difference_interval,
    gain_interval,
    holm,
    mean_interval,
    p_value_above,
)

Taste = Literal["worded", "wordless", "total"]
SUBJECT_FLOOR, ORACLE_FLOOR = 0.90, 0.6
OURS = "prefgen"


def user_utility(results: Results, method: str, taste: Taste, group: str = "") -> np.ndarray:
    """float [n_users]: mean utility of a method's pictures to each user, within a group of `Results.groups`."""
    kind, users = results.groups()[group]
    return results.by_user(getattr(results.utility(method), taste), kind, users)


def floors(results: Results) -> tuple[Estimate, Estimate]:
    """The prompt's subject accuracy, and the oracle's worded gain as a share of the painter's."""
    known = set(results.methods)
    if "prompt" not in known:
        return NOT_SAID, NOT_SAID
    subject = mean_interval(results.by_user(subject_hits(results, "prompt")))
    if not {"oracle", "painter"} <= known:
        return subject, NOT_SAID
    oracle, painter, prompt = (user_utility(results, m, "worded") for m in ("oracle", "painter", "prompt"))
    return subject, gain_interval(oracle, prompt, painter)


def above_floors(results: Results) -> bool:
    """Whether a gain can be said at all."""
    subject, oracle = floors(results)
    return subject.value >= SUBJECT_FLOOR and oracle.value >= ORACLE_FLOOR


class Gain:
    """`utility_worded`, `utility_wordless`, `utility`; `gain`, `gain_wordless`; `gain_of_oracle_history`; both floors;
    `share_oracle_below_prompt`; and ours minus each other method with Holm's p-values."""

    name = "gain"

    def measure(self, results: Results) -> list[Row]:
        """Rows for every method."""
        rows = self._absolute(results) + self._floors(results)
        if "prompt" in results.methods:
            rows += self._gains(results)
        if OURS in results.methods:
            rows += self._differences(results)
        return rows

    def _absolute(self, results: Results) -> list[Row]:
        names: tuple[tuple[str, Taste], ...] = (
            ("utility_worded", "worded"),
            ("utility_wordless", "wordless"),
            ("utility", "total"),
        )
        return [
            results.mean(method, name, getattr(results.utility(method), taste))
            for method in results.methods
            for name, taste in names
        ]

    def _floors(self, results: Results) -> list[Row]:
        subject, oracle = floors(results)
        rows = [row("prompt", "floor_subject_accuracy", subject), row("oracle", "floor_oracle_of_painter", oracle)]
        if {"prompt", "oracle"} <= set(results.methods):
            below = user_utility(results, "oracle", "worded") < user_utility(results, "prompt", "worded")
            rows.append(row("oracle", "share_oracle_below_prompt", mean_interval(below.astype(float))))
        return rows

    def _gains(self, results: Results) -> list[Row]:
        said = above_floors(results)
        rows: list[Row] = []
        gains: tuple[tuple[str, Taste, str], ...] = (
            ("gain", "worded", "oracle"),
            ("gain_wordless", "wordless", "painter"),
        )
        for name, taste, ceiling in gains:
            for method in results.methods:
                if method == "prompt" or ceiling not in results.methods:
                    continue
                for group in results.groups():
                    ours, plain, top = (user_utility(results, m, taste, group) for m in (method, "prompt", ceiling))
                    if np.isfinite(ours).any():
                        rows.append(row(method, name + group, gain_interval(ours, plain, top) if said else NOT_SAID))
        if "oracle_history" in results.methods:
            told, plain = (user_utility(results, m, "worded") for m in ("oracle_history", "prompt"))
            for method in results.methods:
                if method not in ("prompt", "oracle_history"):
                    share = gain_interval(user_utility(results, method, "worded"), plain, told)
                    rows.append(row(method, "gain_of_oracle_history", share if said else NOT_SAID))
        return rows

    def _differences(self, results: Results) -> list[Row]:
        rivals = [m for m in results.methods if m not in (OURS, "painter")]
        rows: list[Row] = []
        names: tuple[tuple[str, Taste], ...] = (
            ("utility_worded_above", "worded"),
            ("utility_wordless_above", "wordless"),
            ("utility_above", "total"),
        )
        for name, taste in names:
            ours = user_utility(results, OURS, taste)
            theirs = {m: user_utility(results, m, taste) for m in rivals}
            rows += [row(OURS, f"{name}:{m}", difference_interval(ours, u)) for m, u in theirs.items()]
            corrected = holm({m: p_value_above(ours, u) for m, u in theirs.items()})
            n = len(results.cases)
            rows += [Row(method=OURS, metric=f"{name}_p_holm:{m}", value=p, n=n) for m, p in corrected.items()]
        return rows
