"""What each method costs: network calls, memory, and training for every new person.

One picture is painted for somebody nobody has met, so that the reading of the history is part of it and no cache helps.
Calls and memory are counted (see `footprint`); minutes of training are declared by the method, with what else it needs,
but those of a method that trains for every person, which the run measures.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from prefgen.benchmark.footprint import footprint_of
from prefgen.benchmark.methods import METHODS, Bench, FitsEachPerson, Method, NotRun
from prefgen.benchmark.results import Results, Row
from prefgen.benchmark.tasks import Task
from prefgen.benchmark.tuning import tuned_parameters


class Costs:
    """`network_calls_per_step` (rows a picture sends through the generator at each step), `peak_memory_mib` (weights
    read and tensors held at once), `weights_mib`, and `training_minutes_per_person`."""

    name = "costs"

    def __init__(self) -> None:
        self._strangers = count(1)

    def measure(self, results: Results) -> list[Row]:
        """Rows of every method of the run that can be made again."""
        if results.bench is None or not results.tasks:
            return []
        rows: list[Row] = []
        for name in results.methods:
            try:
                method = METHODS[name](results.bench, **tuned_parameters(name))
            except (KeyError, NotRun):
                continue
            rows += self._rows(method, results.bench, self._task_of_nobody(results.tasks[0]))
        return rows

    def _task_of_nobody(self, task: Task) -> Task:
        """The task for a history of the same size and labels whose pictures are drawn anew."""
        step = 8 * next(self._strangers)  # a painter's seed tells its class by the remainder
        shelves = {
            side: replace(
                shelf,
                shown=tuple(replace(s, scene=s.scene.with_changes(seed=s.scene.seed + step)) for s in shelf.shown),
            )
            for side, shelf in (("shelf", task.case.shelf), ("stranger", task.case.stranger))
        }
        return replace(task, case=replace(task.case, **shelves))

    def _rows(self, method: Method, bench: Bench, task: Task) -> list[Row]:
        network = getattr(bench.chain.pipe, "unet", None) or bench.chain.pipe.transformer
        took = footprint_of(lambda: method.paint([task]), network)
        figures = {
            "network_calls_per_step": took.n_rows / bench.sampling.n_steps,
            "peak_memory_mib": took.memory_mib,
            "weights_mib": took.weights_mib,
        }
        if not isinstance(method, FitsEachPerson):  # whose minutes the run itself has measured
            figures["training_minutes_per_person"] = method.training_minutes_per_person
        return [Row(method=method.name, metric=metric, value=value, n=1) for metric, value in figures.items()]
