"""Times at which adapters learn."""

from __future__ import annotations

import torch

from prefgen.core import torch_generator
from prefgen.diffusion import sample_times
from prefgen.recipes.latents import TIME_MEAN, listening_times


def test_adapters_meet_nearly_pure_noise_often_and_everything_else_too() -> None:
    times = listening_times(20_000, torch_generator("times"))
    plain = sample_times(20_000, torch_generator("times"), mean=TIME_MEAN)
    assert (times > 0.9).float().mean() > 5 * (plain > 0.9).float().mean()
    assert (times < 0.5).float().mean() > 0.5 * (plain < 0.5).float().mean()
    assert times.dtype == torch.float32
    assert times.min() > 0
    assert times.max() <= 1


def test_times_are_the_generators_alone() -> None:
    first, again, other = (listening_times(64, torch_generator("times", k)) for k in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
