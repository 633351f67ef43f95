"""Whether the picture still shows what was asked for."""

from __future__ import annotations

import numpy as np

from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import ratio_interval
from prefgen.benchmark.tasks import TaskKind

APART: tuple[tuple[str, TaskKind], ...] = (
    ("@reserved_subjects", "reserved_subject"),
    ("@reserved_pairs", "reserved_pair"),
)


def subject_hits(results: Results, method: str) -> np.ndarray:
    """float [n_tasks]: 1 where the judge names the prompt's subject."""
    seen = results.readings[method].answers("subject")
    return np.array([float(s == t.subject) for s, t in zip(seen, results.tasks)])


class SubjectAccuracy:
    """`subject_accuracy` (also on reserved subjects and pairs) and `subject_accuracy_of_prompt`, the ratio."""

    name = "subject_accuracy"

    def measure(self, results: Results) -> list[Row]:
        """Rows for every method."""
        rows: list[Row] = []
        for method in results.methods:
            hits = subject_hits(results, method)
            rows.append(results.mean(method, self.name, hits))
            for suffix, kind in APART:
                if any(t.kind == kind for t in results.tasks):
                    rows.append(results.mean(method, self.name + suffix, hits, kind))
            if "prompt" in results.methods and method != "prompt":
                plain = results.by_user(subject_hits(results, "prompt"))
                rows.append(row(method, f"{self.name}_of_prompt", ratio_interval(results.by_user(hits), plain)))
        return rows
