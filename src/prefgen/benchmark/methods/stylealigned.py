"""StyleAligned: attention shared with one liked picture, queries and keys moved to its statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prefgen.benchmark.chain import paint_tasks
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.tasks import Task
from prefgen.core import numpy_rng
from prefgen.diffusion.references import attended, attending, heads_of, padded_references


class StyleAlignedMethod:
    """Re-implementation of StyleAligned (arXiv 2312.02133) with a liked picture as the reference, another one for each
    seed. The reference is noised to each step's time, not inverted."""

    name = "stylealigned"
    needs: tuple[Need, ...] = ("images",)
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench, *, guidance_scale: float = 3.0, like_strength: float = 1.0) -> None:
        self.bench, self.guidance_scale, self.like_strength = bench, guidance_scale, like_strength

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        made: list[np.ndarray] = []
        for start in range(0, len(tasks), self.bench.sampling.batch):
            part = tasks[start : start + self.bench.sampling.batch]
            shown = []
            for t in part:
                liked = t.case.shelf.liked
                shown.append([liked[int(numpy_rng("reference", t.seed).integers(len(liked)))]] if liked else [])
            latents, there = padded_references(self.bench.chain.pipe, shown)
            shift = math.log(self.like_strength) if self.like_strength > 0 else -math.inf
            bias = torch.where(there[:, 0], shift, -math.inf)

            def read(attn: Any, states: Tensor, references: Tensor, bias: Tensor = bias) -> Tensor:
                return aligned_attention(attn, states, references[:, 0].repeat(2, 1, 1), bias.repeat(2))

            with torch.no_grad(), attending(self.bench.chain.pipe, latents, read):
                made += paint_tasks(self.bench.chain, part, self.bench.sampling, guidance_scale=self.guidance_scale)
        return made


def adain(x: Tensor, style: Tensor) -> Tensor:
    """`x` [n, heads, length, d] with the mean and deviation over the length of `style`."""
    mean, std = x.mean(2, keepdim=True), x.std(2, keepdim=True) + 1e-5
    return (x - mean) / std * (style.std(2, keepdim=True) + 1e-5) + style.mean(2, keepdim=True)


def aligned_attention(attn: Any, states: Tensor, reference: Tensor, bias: Tensor) -> Tensor:
    """Self-attention of `states` [n, length, d] over itself and `reference`, whose statistics queries and keys take on.
    `bias` [n] is added to the reference's scores; rows of -inf stay the plain layer's."""
    reference = reference.to(states)
    q, k, v = (heads_of(attn, f(states)) for f in (attn.to_q, attn.to_k, attn.to_v))
    q_r, k_r, v_r = (heads_of(attn, f(reference)) for f in (attn.to_q, attn.to_k, attn.to_v))
    heard = torch.isfinite(bias)[:, None, None, None]
    query, key = torch.where(heard, adain(q, q_r), q), torch.where(heard, adain(k, k_r), k)
    length = states.shape[1]
    scores = torch.cat([torch.zeros(len(states), length), bias[:, None].expand(-1, length)], 1).to(states)
    return attended(attn, query, torch.cat([key, k_r], 2), torch.cat([v, v_r], 2), scores[:, None, None, :])
