"""What each alignment loss can identify, and what it is blind to."""

import pytest
import torch

from prefgen.alignment import (
    ALIGNMENT_LOSSES,
    alignment_loss,
    cosine_distance,
    info_nce,
    mmd2_unbiased,
    pointwise_mse,
    sliced_wasserstein,
)
from prefgen.core import ConfigError, InputError, torch_generator

PAIRED = [name for name, loss in ALIGNMENT_LOSSES.items() if loss.paired]
UNPAIRED = [name for name, loss in ALIGNMENT_LOSSES.items() if not loss.paired]


def cloud(n: int, d: int, *name: object) -> torch.Tensor:
    return torch.randn(n, d, generator=torch_generator("rival cloud", *name))


@pytest.mark.parametrize("name", ALIGNMENT_LOSSES)
def test_every_loss_is_a_scalar_with_gradients_in_float32(name: str) -> None:
    x, y = cloud(16, 8, "x").bfloat16().requires_grad_(), cloud(16, 8, "y").bfloat16()
    loss = ALIGNMENT_LOSSES[name](x, y)
    loss.backward()
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ALIGNMENT_LOSSES)
def test_every_loss_is_documented_and_finds_targets_better_than_strangers(name: str) -> None:
    loss = ALIGNMENT_LOSSES[name]
    assert len(loss.identifies) > 20
    assert len(loss.blind_to) > 20
    y = cloud(64, 8, "y")
    assert loss(y + 0.05 * cloud(64, 8, "noise"), y) < loss(3 + 2 * cloud(64, 8, "x"), y)


@pytest.mark.parametrize("name", UNPAIRED)
def test_a_distribution_loss_does_not_see_a_permutation(name: str) -> None:
    x, y = cloud(32, 8, "x"), cloud(32, 8, "y")
    order = torch.randperm(32, generator=torch_generator("order"))
    loss = ALIGNMENT_LOSSES[name]
    assert torch.allclose(loss(x[order], y), loss(x, y), atol=1e-6)
    assert loss(y[order], y).abs() < 0.2


@pytest.mark.parametrize("name", PAIRED)
def test_a_pointwise_loss_sees_a_permutation(name: str) -> None:
    y = cloud(32, 8, "y")
    loss = ALIGNMENT_LOSSES[name]
    assert loss(y.roll(1, 0), y) > loss(y, y) + 0.5


@pytest.mark.parametrize("name", PAIRED)
def test_a_pointwise_loss_refuses_what_is_not_paired(name: str) -> None:
    with pytest.raises(InputError, match="as many points as targets"):
        ALIGNMENT_LOSSES[name](cloud(4, 8, "x"), cloud(5, 8, "y"))


def test_mse_prefers_the_collapsed_average_where_mmd_prefers_the_spread() -> None:
    """One history, two equally likely tastes ±1: the average answer wins by MSE, an honest guess by MMD."""
    targets = torch.cat([torch.ones(64, 2), -torch.ones(64, 2)]) + 0.1 * cloud(128, 2, "targets")
    guesses = targets[torch.randperm(128, generator=torch_generator("guess"))]
    average = 0.01 * cloud(128, 2, "average")
    assert pointwise_mse(average, targets) < pointwise_mse(guesses, targets)
    assert mmd2_unbiased(guesses, targets) < mmd2_unbiased(average, targets)
    assert sliced_wasserstein(guesses, targets) < sliced_wasserstein(average, targets)


def test_cosine_and_info_nce_are_blind_to_length() -> None:
    x, y = cloud(16, 8, "x"), cloud(16, 8, "y")
    lengths = torch.rand(16, 1, generator=torch_generator("length")) + 0.5
    for loss in (cosine_distance, info_nce):
        assert torch.allclose(loss(x * lengths, y), loss(x, y), atol=1e-5)
    assert pointwise_mse(x * lengths, y) != pointwise_mse(x, y)
    assert cosine_distance(y, y) == pytest.approx(0, abs=1e-6)


def test_info_nce_bears_a_gap_between_the_clouds_that_mmd_sees() -> None:
    """A common offset leaves the order of similarities alone, so the own target still ranks first."""
    offset = torch.zeros(9)
    offset[8] = 4.0
    y = torch.cat([4 * torch.eye(8), torch.zeros(8, 1)], dim=1)
    assert info_nce(y + offset, y) < 0.01
    assert mmd2_unbiased(y + offset, y) > 0.1


def test_info_nce_needs_strangers() -> None:
    with pytest.raises(InputError, match="at least 2 points"):
        info_nce(cloud(1, 8, "x"), cloud(1, 8, "y"))


def test_sliced_wasserstein_of_a_shift_is_its_squared_length_over_d() -> None:
    x = cloud(200, 3, "x").double()
    shift = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    value = sliced_wasserstein(x, x + shift, n_projections=4096)
    assert float(value) == pytest.approx(25 / 3, rel=0.05)
    assert float(sliced_wasserstein(x, x)) == 0


def test_sliced_wasserstein_is_exact_for_unequal_sizes() -> None:
    """In one dimension every direction is ±1: W₂² of {0, 1} and {0, 1, 2} by hand over levels 1/3, 1/2, 2/3."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    assert float(sliced_wasserstein(x, y)) == pytest.approx(1 / 6 + 1 / 3)
    assert float(sliced_wasserstein(y.repeat(7, 1), y)) == pytest.approx(0, abs=1e-6)


def test_sliced_wasserstein_directions_follow_the_seed() -> None:
    x, y = cloud(16, 8, "x"), cloud(16, 8, "y")
    assert sliced_wasserstein(x, y, seed=1) == sliced_wasserstein(x, y, seed=1)
    assert sliced_wasserstein(x, y, seed=1) != sliced_wasserstein(x, y, seed=2)


def test_a_misspelt_name_is_told_the_nearest() -> None:
    assert alignment_loss("mmd") is ALIGNMENT_LOSSES["mmd"]
    with pytest.raises(ConfigError, match="did you mean 'cosine'"):
        alignment_loss("cosin")
