"""The oracle: told in words one true liked value of every family, and every disliked value to avoid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefgen.agents import Scene, Taste, caption_of
from prefgen.benchmark.chain import paint_tasks
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.tasks import Task
from prefgen.core import numpy_rng


def ruling_taste(task: Task) -> Taste:
    """The taste a picture of this task is for: a two-mode person's modes alternate at random between pictures."""
    mode = int(numpy_rng("mode", task.seed).integers(2))
    return task.case.person.taste_for(task.subject, time=1.0, mode=mode)


def told_caption(task: Task, values: dict[str, str]) -> str:
    """The prompt with values in the captions' own format."""
    return caption_of(Scene(subject=task.subject, setting=task.setting, values=values))


class OracleMethod:
    """The plain model told the truth in words: the ceiling of worded taste."""

    name = "oracle"
    needs: tuple[Need, ...] = ("words", "truth")
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench, *, guidance_scale: float = 3.0) -> None:
        self.bench, self.guidance_scale = bench, guidance_scale

    def words(self, task: Task) -> tuple[str, str]:
        """Caption and negative prompt of a task. Which of several liked values is told depends on the task's seed."""
        taste = ruling_taste(task)
        rng = numpy_rng("oracle", task.seed)
        values = {f: str(rng.choice(taste.likes[f])) for f in taste.families() if f in taste.likes}
        avoided = ", ".join(v for f in taste.families() for v in taste.dislikes.get(f, ()))
        return told_caption(task, values), avoided

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        told = [self.words(t) for t in tasks]
        return paint_tasks(
            self.bench.chain,
            tasks,
            self.bench.sampling,
            guidance_scale=self.guidance_scale,
            prompts=[caption for caption, _ in told],
            negative_prompts=[avoided for _, avoided in told],
        )
