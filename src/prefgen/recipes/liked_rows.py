"""Training on people's own pictures, taught by the network told more: what baselines do that hear a whole person."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from prefgen.adapter import UserAdapter, UserTokens
from prefgen.agents.scene import caption_of
from prefgen.diffusion import FlowLoss, flow_matching_loss
from prefgen.recipes.adapters import NOBODY_RATE, adapter_prompt
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.latents import listening_times
from prefgen.recipes.people_features import PeopleFeatures
from prefgen.recipes.population import N_HISTORY, N_LIKED_TARGETS
from prefgen.recipes.ranks import own

TEACHER_SHARE = 0.7
"""How far the target moves from the drawn noise to what the frozen network says when told the target's
words. The rest carries what has no word. Without a teacher nearly all of the loss on people is noise (ours)."""
TEACHER_LEAVES = 0.5, 0.8
"""Shares of the training between which the teacher's share falls to nothing, so that what has no word ends at full
strength."""


class LikedRows:
    """One batch of people and of pictures they would love, drawn from the step's own generator.

    `latents` [n, channels, h, w] and `target_clip` float32 [n, d_clip] are the targets', `told` their whole captions,
    `spoken` bool [n] the rows that hear anybody.
    """

    def __init__(self, people: PeopleFeatures, latents: np.ndarray, rng: np.random.Generator, n: int) -> None:
        self.users = [int(u) for u in rng.permutation(len(people))[:n]]
        self.variants = [int(v) for v in rng.choice(3, len(self.users), p=[0.4, 0.25, 0.35])]
        columns = [int(k) for k in rng.integers(0, N_LIKED_TARGETS, len(self.users))]
        chosen = np.stack([latents[u, k] for u, k in zip(self.users, columns)])
        self.latents = torch.from_numpy(chosen.astype(np.float32))
        self.target_clip = people.clip[torch.tensor(self.users), N_HISTORY + torch.tensor(columns)].float()
        scenes = [people.person(u).liked[k] for u, k in zip(self.users, columns)]
        self.prompts = [adapter_prompt(scene, rng, 0.1) for scene in scenes]
        self.told = [caption_of(scene) for scene in scenes]
        self.spoken = torch.from_numpy(rng.random(len(self.users)) >= NOBODY_RATE)


def teacher_share(progress: float) -> float:
    """The teacher's share after a part of the training, 0 to 1."""
    begin, end = TEACHER_LEAVES
    return TEACHER_SHARE * min(1.0, max(0.0, (end - progress) / (end - begin)))


def taught_loss(
    adapter: UserAdapter,
    heard: UserTokens,
    velocity: Callable[[Tensor, Tensor, Tensor], Tensor],
    rows: LikedRows,
    text: TextEncoding,
    generator: torch.Generator,
    progress: float,
) -> FlowLoss:
    """Flow matching with `heard` in the adapter after a part of the training, 0 to 1; the target is drawn by
    `teacher_share` to what the network says that hears nobody and reads the targets' whole captions."""
    told, times = text(rows.told), listening_times(len(rows.latents), generator)

    def teacher(x: Tensor, timestep: Tensor) -> Tensor:
        with adapter.users(None):
            return velocity(x, timestep, told)

    with adapter.users(UserTokens(like=own(heard.like), dislike=None if heard.dislike is None else own(heard.dislike))):
        return flow_matching_loss(
            velocity,
            rows.latents,
            text(rows.prompts),
            generator,
            times=times,
            teacher=teacher,
            teacher_share=teacher_share(progress),
        )
