"""The prompt alone: what everybody gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefgen.benchmark.chain import paint_tasks
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.tasks import Task


class PromptMethod:
    """The plain model on the plain prompt."""

    name = "prompt"
    needs: tuple[Need, ...] = ()
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench, *, guidance_scale: float = 3.0) -> None:
        self.bench, self.guidance_scale = bench, guidance_scale

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        return paint_tasks(self.bench.chain, tasks, self.bench.sampling, guidance_scale=self.guidance_scale)
