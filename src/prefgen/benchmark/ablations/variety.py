"""Two tastes in one person: does a share of the seeds that shows one facet give them both?"""

from __future__ import annotations

from dataclasses import replace

from prefgen.benchmark.ablations.asking import OURS, PROMPT, Asking, figures_of
from prefgen.benchmark.metrics import METRICS
from prefgen.benchmark.results import Row
from prefgen.benchmark.tuning import tuned_parameters

SHARES = (0.0, 0.2, 0.4, 0.7, 1.0)
N_SEEDS = 16
"""Pictures a person and share: of fewer nobody can tell whether both tastes are there."""


class Variety:
    """`Sweep`'s figures, `two_modes_both`, `two_modes_blend`, `coverage` and `diversity` for people of two tastes, by
    the share of seeds that shows one facet."""

    name = "variety"
    title = "Two tastes in one person: what share of the pictures should show one of them alone?"

    @property
    def places(self) -> dict[str, float]:
        """Each share at its own."""
        return {f"{share:g}": share for share in SHARES}

    def measure(self, asking: Asking) -> list[Row]:
        """Rows of every share."""
        cases = asking.people_of_kind("two_mode")
        tasks = asking.tasks(cases, N_SEEDS)
        plain = asking.paint(PROMPT, asking.prompt(), tasks)
        usual = tuned_parameters(OURS).get("variety")
        rows: list[Row] = []
        for share in SHARES:
            name = OURS if share == usual else f"{self.name}.{share:g}"
            made = asking.paint(name, asking.ours(variety=share), tasks)
            results = asking.results(cases, tasks, {PROMPT: plain, OURS: made})
            figures = figures_of(results)
            for metric in ("two_modes", "coverage", "diversity"):
                figures += [r for r in METRICS[metric].measure(results) if r.method == OURS]
            rows += [replace(r, method=f"{share:g}", metric=f"{r.metric}@{self.name}") for r in figures]
        return rows
