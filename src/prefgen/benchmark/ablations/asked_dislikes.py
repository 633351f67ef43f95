"""Do dislikes keep out what is disliked? Prompts ask for a word that the person dislikes.

A plain prompt seldom shows what somebody dislikes: little is left to avoid. Here every prompt names a value that a
disliked picture of the person shows and that their taste dislikes: what a dislike is worth against a plain order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefgen.benchmark.ablations.asking import Asking
from prefgen.benchmark.judge import Reading
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.methods.oracle import ruling_taste, told_caption
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.results import Row, row
from prefgen.benchmark.statistics import difference_interval, mean_interval
from prefgen.benchmark.tasks import Task
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.core import numpy_rng

STRENGTHS = (0.0, 0.15, 0.35, 0.7, 1.2, 2.0)


def asked_dislike(task: Task) -> tuple[str, str] | None:
    """(family, value) that the ruling taste dislikes and a picture on the disliked side of the shelf shows; None where
    there is none. Which of several depends on the task's seed."""
    dislikes = ruling_taste(task).dislikes
    shown = {value for s in task.case.shelf.shown if not s.liked for value in s.scene.values.values()}
    known = sorted((family, v) for family, values in dislikes.items() for v in values if v in shown)
    return known[int(numpy_rng("asked dislike", task.seed).integers(len(known)))] if known else None


@dataclass(frozen=True, kw_only=True)
class AskedDislikes:
    """Rows for each strength of dislikes: `asked_shown`, P(the disliked word that the prompt asks for), with likes as
    tuned; `asked_shown_alone`, with likes silent; `asked_subject`, how often the subject is right with likes silent;
    and `above:0`, the paired difference in `asked_shown_alone` from dislikes that are silent too."""

    name: str = "asked_dislikes"
    title: str = "Do dislikes keep out what is disliked, even where the prompt asks for it? (by their strength)"

    @property
    def places(self) -> dict[str, float]:
        """The strengths."""
        return {f"{x:g}": x for x in STRENGTHS}

    def measure(self, asking: Asking) -> list[Row]:
        """All strengths' rows."""
        asked = [(task, value) for task in asking.tasks(asking.cases) if (value := asked_dislike(task)) is not None]
        if not asked:
            return []
        tasks, values = [task for task, _ in asked], [value for _, value in asked]
        users = np.array([task.case.user for task in tasks])
        rows: list[Row] = []
        alone: dict[str, np.ndarray] = {}
        for label, strength in self.places.items():
            for metric, likes in (("asked_shown", None), ("asked_shown_alone", 0.0)):
                made = asking.paint(f"{self.name}.{metric}.{label}", Disobeying(asking.bench, strength, likes), tasks)
                reading = asking.judge.read(made)
                shown = by_user(shown_of(reading, values), users)
                rows.append(row(label, f"{metric}@{self.name}", mean_interval(shown)))
                if likes is not None:
                    alone[label] = shown
                    right = [float(said == t.subject) for said, t in zip(reading.answers("subject"), tasks)]
                    rows.append(
                        row(label, f"asked_subject@{self.name}", mean_interval(by_user(np.array(right), users)))
                    )
        silent = alone.pop("0")
        return rows + [row(k, f"above:0@{self.name}", difference_interval(v, silent)) for k, v in alone.items()]


def shown_of(reading: Reading, values: Sequence[tuple[str, str]]) -> np.ndarray:
    """float [n]: P(the value of its family) of each picture."""
    return np.array([reading.rows([k]).probability(f, [v])[0] for k, (f, v) in enumerate(values)])


def by_user(of_tasks: np.ndarray, users: np.ndarray) -> np.ndarray:
    """float [n_users]: the mean over each person's tasks."""
    return np.array([of_tasks[users == user].mean() for user in np.unique(users)])


class Disobeying(PrefGenMethod):
    """Our method as tuned but for its strengths (`likes` None: as tuned), with prompts that name a disliked value."""

    def __init__(self, bench: Bench, dislikes: float, likes: float | None) -> None:
        changes = {"dislike_strength": dislikes, "variety": 0.0} | ({} if likes is None else {"like_strength": likes})
        super().__init__(bench, **{**tuned_parameters("prefgen"), **changes})

    def prompt(self, task: Task) -> str:
        """The prompt, with the value where there is one."""
        asked = asked_dislike(task)
        return task.prompt if asked is None else told_caption(task, dict([asked]))
