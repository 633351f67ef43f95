"""The eye on noisy latents: it tells a right estimate from a wrong one, and its gradient says which way to go."""

import pytest
import torch

from prefgen.diffusion import FlowLoss, noise_like, noisy_latents
from prefgen.recipes.latent_eye import LatentEye, PerceptualLoss, Whitening

SHAPE = (4, 8, 8)


def pictures_and_embeddings(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of one flat colour each, and embeddings that are that colour, its first direction ten times wider."""
    colours = torch.randn(n, SHAPE[0], generator=torch.Generator().manual_seed(seed))
    latents = colours[:, :, None, None].expand(-1, *SHAPE)
    return latents, colours * torch.tensor([10.0, 1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def perceptual() -> PerceptualLoss:
    """An eye that has seen flat colours under noise."""
    torch.manual_seed(0)
    whitening = Whitening.of(pictures_and_embeddings(4000, 0)[1])
    eye = LatentEye(SHAPE[0], 4, 16)
    eye(torch.zeros(1, *SHAPE), torch.zeros(1))
    optimizer = torch.optim.AdamW(eye.parameters(), 3e-3)
    for step in range(120):
        z, embeddings = pictures_and_embeddings(64, 1 + step)
        times = torch.rand(64)
        seen = eye(noisy_latents(z, noise_like(z), times), times)
        (seen - whitening(embeddings)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return PerceptualLoss(eye=eye.eval().requires_grad_(False), whitening=whitening)


def flow_of(estimate: torch.Tensor, time: float = 0.3) -> FlowLoss:
    return FlowLoss(per_sample=torch.zeros(len(estimate)), times=torch.full((len(estimate),), time), estimate=estimate)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_whitened_directions_have_unit_variance_and_empty_ones_are_left_out() -> None:
    embeddings = pictures_and_embeddings(5000, 3)[1]
    padded = torch.cat([embeddings, torch.zeros(5000, 3)], 1)
    wide = torch.randn(5000, 7) * torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0])
    assert Whitening.of(wide).directions.shape == (7, 4)
    seen = Whitening.of(padded)(padded)
    torch.testing.assert_close(seen.var(0), torch.ones(seen.shape[1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen.mean(0), torch.zeros(seen.shape[1]), atol=1e-3, rtol=0)


def test_a_right_estimate_is_closer_than_a_wrong_one(perceptual: PerceptualLoss) -> None:
    latents, embeddings = pictures_and_embeddings(64, 9001)
    right = perceptual(flow_of(latents), embeddings, generator())
    wrong = perceptual(flow_of(latents.roll(1, 0)), embeddings, generator())
    assert right.shape == (64,)
    assert right.mean() < 0.4 * wrong.mean()


def test_the_gradient_leads_to_what_the_target_shows(perceptual: PerceptualLoss) -> None:
    latents, embeddings = pictures_and_embeddings(32, 9002)
    estimate = torch.zeros_like(latents).contiguous().requires_grad_(True)
    perceptual(flow_of(estimate), embeddings, generator()).sum().backward()
    assert estimate.grad is not None
    downhill = -estimate.grad.mean((2, 3))
    agreement = torch.nn.functional.cosine_similarity(downhill[:, 1:], latents[:, 1:, 0, 0])
    assert agreement.mean() > 0.6
    assert all(p.grad is None for p in perceptual.eye.parameters())


def test_the_weight_scales_the_loss(perceptual: PerceptualLoss) -> None:
    latents, embeddings = pictures_and_embeddings(8, 9003)
    half = PerceptualLoss(eye=perceptual.eye, whitening=perceptual.whitening, weight=0.5)
    whole = perceptual(flow_of(latents), embeddings, generator())
    torch.testing.assert_close(half(flow_of(latents), embeddings, generator()), 0.5 * whole)
