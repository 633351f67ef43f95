"""What every metric is: a name, and rows from a run's results."""

from __future__ import annotations

from typing import Protocol

from prefgen.benchmark.results import Results, Row


class Metric(Protocol):
    """One figure, or a few that belong together."""

    @property
    def name(self) -> str:
        """The metric's name; its rows' names begin with it or are listed by its docstring."""
        ...

    def measure(self, results: Results) -> list[Row]:
        """Rows for every method it applies to. It changes nothing and gives the same rows when asked again."""
        ...
