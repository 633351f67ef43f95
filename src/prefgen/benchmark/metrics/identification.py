"""Whose picture is this? One picture, fifty people, and the judge.

Definition: the picture's total utility to each of 50 people (its own person and 49 others, the same for all methods)
is standardised person by person, with the mean and spread of that person's utility over one reference set of
pictures, the painter's pictures for everybody (the method's own where the painter was not run); the picture is
identified if its own person's standardised utility is the highest. So nobody wins by being easily pleased.
"""

from __future__ import annotations

import numpy as np

from prefgen.benchmark.judge import Reading
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import ratio_interval
from prefgen.benchmark.utility import person_utility
from prefgen.core import numpy_rng

N_PEOPLE = 50


def panel_of(user: int, n_users: int, n_panel: int, seed: int) -> np.ndarray:
    """int [n]: the person and `n_panel - 1` others, or everybody where there are fewer."""
    others = np.array([u for u in range(n_users) if u != user], dtype=int)
    drawn = numpy_rng("identification panel", user, seed).permutation(others)[: n_panel - 1]
    return np.concatenate([[user], drawn]).astype(int)


def utility_to_everyone(results: Results, reading: Reading) -> np.ndarray:
    """float [n_tasks, n_users]: what each picture is worth to each person, had they asked for its prompt."""
    subjects = [t.subject for t in results.tasks]
    return np.stack([person_utility(reading, c.person, subjects).total for c in results.cases], 1)


def identified(results: Results, worth: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """float [n_tasks]: 1 where the picture's own person comes first."""
    standardised = (worth - reference.mean(0)) / (reference.std(0) + 1e-6)
    hits = np.zeros(len(results.tasks))
    for i, task in enumerate(results.tasks):
        panel = panel_of(task.case.user, len(results.cases), N_PEOPLE, results.seed)
        hits[i] = float(panel[standardised[i, panel].argmax()] == task.case.user)
    return hits


class Identification:
    """`identification_top1` among 50, `identification_of_painter` (the ratio), and the panel's size where smaller."""

    name = "identification_top1"

    def measure(self, results: Results) -> list[Row]:
        """Rows for every method."""
        worth = {m: utility_to_everyone(results, results.readings[m]) for m in results.methods}
        reference = worth.get("painter")
        hits = {m: identified(results, w, w if reference is None else reference) for m, w in worth.items()}
        rows = [results.mean(m, self.name, h) for m, h in hits.items()]
        if "painter" in hits:
            top = results.by_user(hits["painter"])
            others = [m for m in hits if m != "painter"]
            rows += [row(m, "identification_of_painter", ratio_interval(results.by_user(hits[m]), top)) for m in others]
        rows.append(Row(method="judge", metric="identification_panel", value=min(N_PEOPLE, len(results.cases)), n=1))
        return rows
