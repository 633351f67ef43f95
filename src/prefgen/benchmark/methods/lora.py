"""A LoRA for every person: the network trained on the very pictures they like."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from prefgen.agents import prompt_of
from prefgen.benchmark.chain import Chain, paint_tasks
from prefgen.benchmark.methods.low_rank import LowRankUpdates
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.tasks import Shelf, Task
from prefgen.core import torch_generator
from prefgen.diffusion import flow_matching_loss
from prefgen.diffusion.references import reference_latents

BATCH = 4
"""Rows a step: each of a shelf's four liked pictures is met about once."""
DROPPED_CAPTIONS = 0.1
"""Share of rows without a caption, which learn to stay the plain network's (`fitted`)."""
TIME_MEAN = 0.5
"""Mean of the logit-normal times: as the embedded generator was trained."""
WARMUP_STEPS = 20


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a person's LoRA is trained."""

    rank: int
    n_steps: int
    learning_rate: float


_FITTED: WeakKeyDictionary[nn.Module, WeakKeyDictionary[Shelf, dict[Fit, LowRankUpdates]]] = WeakKeyDictionary()
"""Points of a sweep that differ in painting only share a training; gone with network or shelf."""


class LoraMethod:
    """One LoRA per person (arXiv 2106.09685) on the attention projections, by the flow-matching loss on the liked
    pictures with their prompts: what a practitioner does who wants a style in a Stable Diffusion model.

    By default rank 8, 400 steps of four rows (each of four pictures 400 times), AdamW at 1e-3 with a short warm-up and
    a cosine to zero; rank, steps and rate are tuned. Stock scripts train a network of 860 M parameters at 1e-4; this
    one is a fiftieth of its size and a fifth as wide, and the rate of a width is its inverse. Dislikes are not heard.

    It is the only method here that trains for every person: on the embedded model a step takes 0.16 s of one CPU core,
    400 of them about a minute a person, where the others take one pass over the pictures. What a run took stands in
    `training_seconds` and in its rows. The network itself is left bit for bit as it was.
    """

    name = "lora"
    needs: tuple[Need, ...] = ("images", "prompts", "fitting")

    def __init__(
        self,
        bench: Bench,
        *,
        guidance_scale: float = 3.0,
        like_strength: float = 1.0,
        rank: float = 8,
        n_steps: float = 400,
        learning_rate: float = 1e-3,
    ) -> None:
        self.bench, self.guidance_scale, self.like_strength = bench, guidance_scale, like_strength
        self.fit = Fit(rank=int(rank), n_steps=int(n_steps), learning_rate=learning_rate)
        self.training_seconds: list[float] = []

    @property
    def training_minutes_per_person(self) -> float:
        """Mean minutes of the trainings so far; 0 before the first."""
        return sum(self.training_seconds) / max(len(self.training_seconds), 1) / 60

    def updates(self, shelf: Shelf) -> LowRankUpdates:
        """A shelf's LoRA, trained on first use."""
        kept = _FITTED.setdefault(self.bench.chain.pipe.unet, WeakKeyDictionary()).setdefault(shelf, {})
        if self.fit not in kept:
            start = time.perf_counter()
            kept[self.fit] = fitted(self.bench.chain, shelf, self.fit)
            self.training_seconds.append(time.perf_counter() - start)
        return kept[self.fit]

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task, person by person; a person who likes nothing gets the plain model's."""
        made: dict[int, np.ndarray] = {}
        unet = self.bench.chain.pipe.unet
        places: dict[int, list[int]] = {}
        for place, task in enumerate(tasks):
            places.setdefault(id(task.case.shelf), []).append(place)
        for mine in places.values():
            part, shelf = [tasks[k] for k in mine], tasks[mine[0]].case.shelf
            strength = self.like_strength if shelf.liked else 0.0
            with self.updates(shelf).heard(unet, strength):
                pictures = paint_tasks(self.bench.chain, part, self.bench.sampling, guidance_scale=self.guidance_scale)
            made |= dict(zip(mine, pictures))
        return [made[place] for place in range(len(tasks))]


def fitted(chain: Chain, shelf: Shelf, fit: Fit) -> LowRankUpdates:
    """The low-rank updates of a shelf's liked pictures; a pure function of chain, shelf and settings.

    A tenth of the rows lose their caption, and their target is what the plain network says, not what was drawn:
    guidance moves away from the branch without a caption, so that branch must stay the prior's (the prior preservation
    of DreamBooth, arXiv 2208.12242, eq. 2, told by the network itself in place of pictures that it paints).
    """
    unet, pictures = chain.pipe.unet, shelf.liked
    generator = torch_generator("lora", shelf.owner)
    updates = LowRankUpdates(unet, fit.rank, generator).to(chain.pipe.device)
    if not pictures:
        return updates.requires_grad_(False)
    with torch.no_grad():
        latents = reference_latents(chain.pipe, pictures)
        prompts = ["", *(prompt_of(shown.scene) for shown in shelf.shown if shown.liked)]
        texts, _ = chain.pipe.encode_prompt(prompts, chain.pipe.device, 1, False)
    optimizer = torch.optim.AdamW(updates.parameters(), fit.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, fit.n_steps))
    with frozen(unet), torch.enable_grad():
        for _ in range(fit.n_steps):
            rows = torch.randint(len(latents), (BATCH,), generator=generator)
            dropped = torch.rand(BATCH, generator=generator) < DROPPED_CAPTIONS
            text = texts[torch.where(dropped, 0, rows + 1)]
            loss = _loss(unet, updates, latents[rows], text, dropped.to(latents), generator)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(updates.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return updates.requires_grad_(False)


def _loss(
    unet: Any, updates: LowRankUpdates, latents: Tensor, text: Tensor, plain: Tensor, generator: torch.Generator
) -> Tensor:
    """Flow matching; rows of `plain` 1 have the network's own velocity without the updates as their target."""

    def velocity(x: Tensor, timestep: Tensor, words: Tensor) -> Tensor:
        with updates.heard(unet):
            return unet(x, timestep, words).sample

    def prior(x: Tensor, timestep: Tensor) -> Tensor:
        return unet(x, timestep, text).sample

    return flow_matching_loss(
        velocity, latents, text, generator, time_mean=TIME_MEAN, teacher=prior, teacher_share=plain
    ).mean


def _share_of_rate(step: int, n_steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = min(1.0, (step + 1) / min(WARMUP_STEPS, n_steps))
    return warm * 0.5 * (1 + float(np.cos(np.pi * min(1.0, step / n_steps))))


@contextmanager
def frozen(unet: nn.Module) -> Iterator[None]:
    """While open, the network's own weights take no gradient; after it, those do that did."""
    thawed = [p for p in unet.parameters() if p.requires_grad]
    for p in thawed:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in thawed:
            p.requires_grad_(True)
