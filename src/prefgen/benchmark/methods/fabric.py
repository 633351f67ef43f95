"""FABRIC: liked and disliked pictures heard through the network's own self-attention, without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prefgen.benchmark.chain import paint_tasks
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.methods.references import attended, attending, heads_of, padded_references
from prefgen.benchmark.tasks import Task


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
        shelves = [t.case.shelf for t in tasks]
        sides = [
            padded_references(self.bench.chain, [list(getattr(s, k)) for s in shelves]) for k in ("liked", "disliked")
        ]
        n_liked = sides[0][0].shape[1]
        weights = [
            torch.where(there, strength, 0.0)
            for (_, there), strength in zip(sides, (self.like_strength, self.dislike_strength))
        ]

        def read(attn: Any, states: Tensor, references: Tensor) -> Tensor:
            nothing, text = states.chunk(2)
            liked, disliked = references[:, :n_liked], references[:, n_liked:]
            return torch.cat(
                [
                    weighted_attention(attn, nothing, disliked, weights[1]),
                    weighted_attention(attn, text, liked, weights[0]),
                ]
            )

        latents = torch.cat([latents for latents, _ in sides], 1)
        with torch.no_grad(), attending(self.bench.chain.pipe, latents, read):
            return paint_tasks(self.bench.chain, tasks, self.bench.sampling, guidance_scale=self.guidance_scale)


def weighted_attention(attn: Any, states: Tensor, references: Tensor, weights: Tensor) -> Tensor:
    """Self-attention of `states` [n, length, d] that also sees `references` [n, k, length, d]: a reference's attention
    is multiplied by its weight [n, k] before all of it is made to sum to one."""
    length = states.shape[1]
    seen = torch.cat([states, references.flatten(1, 2).to(states)], 1)
    bias = torch.cat([torch.zeros(len(states), length), weights.log().repeat_interleave(length, 1)], 1).to(states)
    query, key, value = (heads_of(attn, f(x)) for f, x in ((attn.to_q, states), (attn.to_k, seen), (attn.to_v, seen)))
    return attended(attn, query, key, value, bias[:, None, None, :])
