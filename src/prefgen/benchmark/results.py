"""What a run has made and read, in the shape every metric starts from, and the rows metrics give back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from prefgen.benchmark.chain import unit_clip_embeddings
from prefgen.benchmark.judge import Reading
from prefgen.benchmark.methods.protocol import Bench
from prefgen.benchmark.statistics import Estimate, mean_interval
from prefgen.benchmark.tasks import Case, Task, TaskKind
from prefgen.benchmark.utility import Utility, person_utility


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: nan stands for "n/a"."""

    method: str
    metric: str
    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON; what is not finite becomes "n/a"."""

        def figure(x: float) -> float | str:
            return round(float(x), 6) if math.isfinite(x) else "n/a"

        return {
            "method": self.method,
            "metric": self.metric,
            "value": figure(self.value),
            "low": figure(self.low),
            "high": figure(self.high),
            "n": self.n,
        }


def row(method: str, metric: str, estimate: Estimate) -> Row:
    """A row from an estimate."""
    return Row(method=method, metric=metric, value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n)


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Everything a metric may look at. Arrays run parallel to `tasks`.

    `pictures` maps methods to uint8 [n_tasks, 64, 64, 3], `readings` to what the judge saw in them; `extra_pictures`
    and `extra_readings` hold what no method painted (held-out pictures). `bench` is there for metrics that ask the
    model itself, and absent where only pictures are judged.
    """

    cases: Sequence[Case]
    tasks: Sequence[Task]
    pictures: Mapping[str, np.ndarray]
    readings: Mapping[str, Reading]
    extra_pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    extra_readings: Mapping[str, Reading] = field(default_factory=dict)
    bench: Bench | None = None
    seed: int = 0
    quick: bool = True
    _utilities: dict[str, Utility] = field(default_factory=dict)
    _clip: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that have pictures."""
        return tuple(self.readings)

    @property
    def owners(self) -> np.ndarray:
        """int [n_tasks]: the user of each task."""
        return np.array([t.case.user for t in self.tasks], dtype=int)

    def tasks_of(self, user: int) -> np.ndarray:
        """int [k]: the places of a user's tasks."""
        return np.array([i for i, t in enumerate(self.tasks) if t.case.user == user], dtype=int)

    def utility(self, method: str) -> Utility:
        """The worth of each picture of a method to its own person."""
        if method not in self._utilities:
            n = len(self.tasks)
            whole = {name: np.full(n, np.nan) for name in ("worded", "wordless", "total", "mode")}
            for case in self.cases:
                places = self.tasks_of(case.user)
                subjects = [self.tasks[i].subject for i in places]
                judged = person_utility(self.readings[method].rows(places), case.person, subjects)
                for name, column in whole.items():
                    column[places] = getattr(judged, name)
            self._utilities[method] = Utility(**whole)
        return self._utilities[method]

    def clip(self, name: str) -> np.ndarray:
        """float64 [n_tasks, d_clip]: unit CLIP embeddings, by the model's own picture tower, of a method's pictures or
        of extra ones. Only where there is a `bench`."""
        if name not in self._clip:
            assert self.bench is not None
            pictures = self.pictures[name] if name in self.pictures else self.extra_pictures[name]
            self._clip[name] = unit_clip_embeddings(self.bench.chain, [Image.fromarray(p) for p in pictures])
        return self._clip[name]

    def by_user(
        self, values: np.ndarray, kind: TaskKind = "ordinary", users: Sequence[int] | None = None
    ) -> np.ndarray:
        """float [n_users]: each user's mean over their tasks of one kind; nan without any, or for users left out."""
        out = np.full(len(self.cases), np.nan)
        of_kind = np.array([t.kind == kind for t in self.tasks], dtype=bool)
        owners = self.owners
        for case in self.cases:
            mine = of_kind & (owners == case.user)
            if mine.any() and (users is None or case.user in users):
                out[case.user] = np.nanmean(values[mine])
        return out

    def mean(self, method: str, metric: str, values: np.ndarray, kind: TaskKind = "ordinary") -> Row:
        """The mean over users of a value per task, as a row."""
        return row(method, metric, mean_interval(self.by_user(values, kind)))

    def groups(self) -> dict[str, tuple[TaskKind, list[int] | None]]:
        """The parts that are reported apart: name to (kind of task, users or None for all)."""
        parts: dict[str, tuple[TaskKind, list[int] | None]] = {"": ("ordinary", None)}
        parts["@unseen_clusters"] = ("ordinary", [c.user for c in self.cases if c.member.unseen_cluster])
        parts["@seen_clusters"] = ("ordinary", [c.user for c in self.cases if not c.member.unseen_cluster])
        for kind in ("plain", "two_mode", "drifting", "subject_dependent"):
            parts[f"@{kind}"] = ("ordinary", [c.user for c in self.cases if c.person.kind == kind])
        parts["@reserved_subjects"] = ("reserved_subject", None)
        parts["@reserved_pairs"] = ("reserved_pair", None)
        return parts
