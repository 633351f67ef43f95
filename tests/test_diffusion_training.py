"""Training and sampling share one convention: exact velocities give loss zero and sampling that lands on the data."""

from __future__ import annotations

import pytest
import torch

from prefgen.core import PrefGenError
from prefgen.diffusion import (
    flow_matching_loss,
    flow_scheduler,
    latents_for,
    noise_like,
    noisy_latents,
    sample,
    sample_times,
    velocity_target,
)
from tiny_diffusion import generators, random_tokens, tiny_pipeline, tiny_unet, trained_adapter

POINT = torch.linspace(-1.5, 1.5, 4 * 8 * 8).view(4, 8, 8)


def exact_velocity(x: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """The velocity at (x, t) if all data is POINT: E[noise - data | x_t = x] = (x - POINT)/t."""
    t = torch.as_tensor(timestep, dtype=torch.float32).expand(len(x)).view(-1, 1, 1, 1) / 1000
    return (x - POINT) / t


def sample_with(velocity, n_pictures: int, n_steps: int, flow_shift: float = 1.0) -> torch.Tensor:
    pipe = tiny_pipeline()
    pipe.scheduler = flow_scheduler(flow_shift)
    pipe.unet.forward = lambda x, t, encoder_hidden_states, **_: (velocity(x, t, encoder_hidden_states),)
    return sample(
        pipe,
        None,
        ["a"] * n_pictures,
        None,
        generators=generators(n_pictures),
        guidance_scale=1.0,
        num_inference_steps=n_steps,
        output_type="latent",
    )


def test_exact_velocity_has_no_loss() -> None:
    latents = POINT.expand(6, -1, -1, -1)
    loss = flow_matching_loss(exact_velocity, latents, torch.zeros(6, 2, 3), torch.Generator().manual_seed(0))
    assert loss.per_sample.max() < 1e-6


def test_the_estimate_of_an_exact_velocity_is_the_clean_latents() -> None:
    latents = POINT.expand(6, -1, -1, -1)
    loss = flow_matching_loss(exact_velocity, latents, torch.zeros(6, 2, 3), torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss.estimate, latents, atol=1e-4, rtol=0)


@pytest.mark.parametrize("flow_shift", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("n_steps", [1, 4, 20])
def test_sampling_with_the_exact_velocity_lands_on_the_point(n_steps: int, flow_shift: float) -> None:
    landed = sample_with(exact_velocity, 2, n_steps, flow_shift)
    assert (landed - POINT).abs().max() < 0.01


def test_sampling_recovers_a_gaussian() -> None:
    """Data N(2, 0.5²), whose velocity is known in closed form, comes out with that mean and spread."""
    mean, std = 2.0, 0.5

    def velocity(x, timestep, text):
        t = float(timestep) / 1000
        gain = (t - (1 - t) * std**2) / ((1 - t) ** 2 * std**2 + t**2)
        return gain * (x - (1 - t) * mean) - mean

    drawn = sample_with(velocity, 16, 50)
    assert abs(float(drawn.mean()) - mean) < 0.02
    assert abs(float(drawn.std()) - std) < 0.02


def test_scheduler_tells_the_model_a_thousand_times_t() -> None:
    scheduler = flow_scheduler(3.0)
    scheduler.set_timesteps(10)
    assert torch.equal(scheduler.timesteps, (1000 * scheduler.sigmas[:-1]).long())
    assert scheduler.sigmas[-1] == 0
    assert scheduler.init_noise_sigma == 1
    with pytest.raises(PrefGenError, match="flow_shift"):
        flow_scheduler(0.0)


def test_times_are_logit_normal_and_shift_in_logits() -> None:
    times = sample_times(20_000, torch.Generator().manual_seed(0), mean=0.5, std=0.8)
    assert 0 < times.min() < times.max() < 1
    logits = torch.logit(times)
    assert abs(float(logits.mean()) - 0.5) < 0.02
    assert abs(float(logits.std()) - 0.8) < 0.02
    plain = sample_times(100, torch.Generator().manual_seed(1))
    shifted = sample_times(100, torch.Generator().manual_seed(1), mean=float(torch.log(torch.tensor(3.0))))
    torch.testing.assert_close(shifted, 3 * plain / (1 + 2 * plain))


def test_path_runs_from_data_to_noise_at_the_target_velocity() -> None:
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    start, end = (noisy_latents(latents, noise, torch.full((2,), t)) for t in (0.0, 1.0))
    assert torch.equal(start, latents)
    assert torch.equal(end, noise)
    between = noisy_latents(latents, noise, torch.tensor([0.25, 0.5]))
    later = noisy_latents(latents, noise, torch.tensor([0.35, 0.6]))
    torch.testing.assert_close((later - between) / 0.1, velocity_target(latents, noise))


def test_loss_is_per_sample_and_repeats_with_its_generator() -> None:
    unet = tiny_unet()
    latents, text = latents_for([0, 1, 2], (4, 8, 8)), torch.randn(3, 5, 32)

    def call(x, t, c):
        return unet(x, t, c).sample

    with torch.no_grad():
        one, two = (flow_matching_loss(call, latents, text, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(one.per_sample, two.per_sample)
        assert one.per_sample.shape == one.times.shape == (3,)
        noise = noise_like(latents, torch.Generator().manual_seed(4))
        whole = flow_matching_loss(call, latents, text, times=one.times, noise=noise)
        single = flow_matching_loss(call, latents[1:2], text[1:2], times=one.times[1:2], noise=noise[1:2])
    torch.testing.assert_close(whole.per_sample[1:2], single.per_sample)
    torch.testing.assert_close(whole.mean, whole.per_sample.mean())
    with pytest.raises(PrefGenError, match="rows of text"):
        flow_matching_loss(call, latents, text[:1])


def test_a_teacher_takes_the_place_of_its_share_of_the_target() -> None:
    latents, text = latents_for([0, 1], (4, 8, 8)), torch.zeros(2, 5, 32)
    noise, times = noise_like(latents, torch.Generator().manual_seed(4)), torch.tensor([0.3, 0.8])
    half_way = 0.5 * velocity_target(latents, noise) + 0.5 * torch.ones_like(latents)

    def loss(share: float) -> float:
        call = flow_matching_loss(
            lambda x, t, c: half_way,
            latents,
            text,
            times=times,
            noise=noise,
            teacher=lambda x, t: torch.ones_like(x),
            teacher_share=share,
        )
        return float(call.mean)

    assert loss(0.5) == pytest.approx(0, abs=1e-9)
    assert loss(0.0) == pytest.approx(loss(1.0), rel=1e-4)
    assert loss(0.0) > 0.1


def test_loss_trains_an_adapter_on_a_frozen_model() -> None:
    """Two people, one prompt, each with data of their own: only the adapter can tell them apart, and it learns to."""
    unet = tiny_unet()
    adapter = trained_adapter(unet)
    tokens = random_tokens(8)
    latents = torch.tensor([1.0, -1.0]).repeat(4).view(8, 1, 1, 1).expand(8, 4, 8, 8)
    tokens = type(tokens)(like=tokens.like[:2].repeat(4, 1, 1))
    text = torch.zeros(8, 3, 32)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(40):
        with adapter.injected(unet), adapter.users(tokens):
            loss = flow_matching_loss(lambda x, t, c: unet(x, t, c).sample, latents, text, generator).mean
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert all(parameter.grad is None for parameter in unet.parameters())
