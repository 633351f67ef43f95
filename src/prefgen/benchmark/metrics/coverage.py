"""How much of what a person likes turns up somewhere among their pictures."""

from __future__ import annotations

import numpy as np

from prefgen.agents import Person
from prefgen.benchmark.judge import Reading
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import mean_interval, ratio_interval

N_PICTURES = 16


def liked_values(person: Person, subjects: list[str]) -> set[tuple[str, str]]:
    """(family, value) pairs the person likes now, in the tastes that rule these subjects."""
    tastes = person.current_tastes()
    if person.kind == "subject_dependent":
        tastes = tuple(person.taste_for(s) for s in subjects)
    return {(f, v) for t in tastes for f, values in t.likes.items() for v in values}


def seen_values(reading: Reading) -> set[tuple[str, str]]:
    """(family, value) pairs that are the judge's answer for at least one picture."""
    return {(f, v) for f in reading.classes for v in reading.answers(f)}


def user_coverage(results: Results, method: str) -> np.ndarray:
    """float [n_users]: the share of liked worded values seen in at least one of the user's first 16 pictures."""
    out = np.full(len(results.cases), np.nan)
    for case in results.cases:
        places = [int(i) for i in results.tasks_of(case.user) if results.tasks[i].kind == "ordinary"][:N_PICTURES]
        liked = liked_values(case.person, [results.tasks[i].subject for i in places])
        if liked and places:
            seen = seen_values(results.readings[method].rows(places))
            out[case.user] = len(liked & seen) / len(liked)
    return out


class Coverage:
    """`coverage` (over up to 16 pictures), and `coverage_of_oracle`, the ratio."""

    name = "coverage"

    def measure(self, results: Results) -> list[Row]:
        """Rows for every method."""
        values = {m: user_coverage(results, m) for m in results.methods}
        rows = [row(m, self.name, mean_interval(v)) for m, v in values.items()]
        if "oracle" in values:
            others = [m for m in values if m != "oracle"]
            rows += [row(m, "coverage_of_oracle", ratio_interval(values[m], values["oracle"])) for m in others]
        return rows
