"""FABRIC: liked and disliked pictures heard through the network's own self-attention, without training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from prefgen.benchmark.chain import paint_tasks
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.tasks import Task
from prefgen.diffusion.references import attending, liked_and_disliked, padded_references


class FabricMethod:
    """Re-implementation of FABRIC (arXiv 2307.10159): the conditional branch attends to the liked pictures beside
    itself, the unconditional branch to the disliked ones, each reference's attention weighted."""

    name = "fabric"
    needs: tuple[Need, ...] = ("images", "dislikes")
    training_minutes_per_person = 0.0

    def __init__(
        self, bench: Bench, *, guidance_scale: float = 3.0, like_strength: float = 0.5, dislike_strength: float = 0.25
    ) -> None:
        self.bench, self.guidance_scale = bench, guidance_scale
        self.like_strength, self.dislike_strength = like_strength, dislike_strength

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        made: list[np.ndarray] = []
        n_batch = max(1, self.bench.sampling.batch // 4)
        for start in range(0, len(tasks), n_batch):
            made += self._batch(tasks[start : start + n_batch])
        return made

    def _batch(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        pipe, shelves = self.bench.chain.pipe, [t.case.shelf for t in tasks]
        sides = [padded_references(pipe, [list(getattr(s, k)) for s in shelves]) for k in ("liked", "disliked")]
        weights = [
            torch.where(there, strength, 0.0)
            for (_, there), strength in zip(sides, (self.like_strength, self.dislike_strength))
        ]
        latents = torch.cat([latents for latents, _ in sides], 1)
        with torch.no_grad(), attending(pipe, latents, liked_and_disliked(*weights)):
            return paint_tasks(self.bench.chain, tasks, self.bench.sampling, guidance_scale=self.guidance_scale)
