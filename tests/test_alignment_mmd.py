"""MMD against closed forms, brute force and the traps of float32."""

import math

import pytest
import torch

from prefgen.alignment import median_bandwidths, mmd2_unbiased, mmd_permutation_test
from prefgen.core import PrefGenError, torch_generator


def cloud(n: int, d: int, *name: object, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
    return mean + std * torch.randn(n, d, generator=torch_generator("cloud", *name), dtype=torch.float64)


def closed_form(d: int, sigma: float, distance: float, std_x: float, std_y: float) -> float:
    """MMD² of two isotropic Gaussians under one RBF kernel: every expectation is itself a Gaussian integral."""

    def expected(variance: float, gap: float) -> float:
        return (1 + variance / sigma**2) ** (-d / 2) * math.exp(-(gap**2) / (2 * (sigma**2 + variance)))

    return expected(2 * std_x**2, 0) + expected(2 * std_y**2, 0) - 2 * expected(std_x**2 + std_y**2, distance)


def brute_force(x: torch.Tensor, y: torch.Tensor, sigmas: list[float]) -> float:
    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return sum(math.exp(-float(((a - b) ** 2).sum()) / (2 * sigma**2)) for sigma in sigmas)

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize(
    ("mean", "std", "sigma"), [(0.0, 1.0, 1.0), (0.5, 1.0, 1.5), (0.0, 1.6, 2.0), (-0.4, 0.5, 0.8)]
)
def test_agrees_with_the_closed_form_of_two_gaussians(mean: float, std: float, sigma: float) -> None:
    d = 3
    estimates = torch.stack(
        [
            mmd2_unbiased(cloud(300, d, "x", i), cloud(250, d, "y", i, mean=mean, std=std), bandwidths=[sigma])
            for i in range(30)
        ]
    )
    truth = closed_form(d, sigma, abs(mean) * d**0.5, 1.0, std)
    standard_error = float(estimates.std()) / len(estimates) ** 0.5
    assert abs(float(estimates.mean()) - truth) < 3 * standard_error + 1e-12
    assert standard_error < 4e-3


def test_equals_a_double_loop() -> None:
    x, y = cloud(7, 4, "x"), cloud(5, 4, "y", mean=0.7)
    sigmas = [0.5, 1.0, 3.0]
    assert float(mmd2_unbiased(x, y, bandwidths=sigmas)) == pytest.approx(brute_force(x, y, sigmas), abs=1e-12)
    chosen = median_bandwidths(x, y)
    assert float(mmd2_unbiased(x, y)) == pytest.approx(brute_force(x, y, chosen.tolist()), abs=1e-12)


def test_one_cloud_split_in_two_is_zero_on_average_and_not_clamped() -> None:
    points = cloud(120, 6, "one")
    bandwidths = median_bandwidths(points, points)
    values = []
    for i in range(200):
        order = torch.randperm(120, generator=torch_generator("split", i))
        values.append(mmd2_unbiased(points[order[:60]], points[order[60:]], bandwidths))
    values = torch.stack(values)
    assert abs(float(values.mean())) < 3 * float(values.std()) / 200**0.5
    assert 0.2 < float((values < 0).double().mean()) < 0.8


def test_is_blind_to_a_permutation_and_to_a_common_shift() -> None:
    x, y = cloud(40, 5, "x"), cloud(40, 5, "y", mean=0.3)
    value = float(mmd2_unbiased(x, y))
    assert float(mmd2_unbiased(x.flip(0), y)) == pytest.approx(value, abs=1e-12)
    assert float(mmd2_unbiased(x + 9, y + 9)) == pytest.approx(value, abs=1e-12)
    assert float(mmd2_unbiased(y, x)) == pytest.approx(value, abs=1e-12)


def test_float32_holds_at_a_large_common_mean() -> None:
    x, y = cloud(64, 1024, "x", mean=50), cloud(64, 1024, "y", mean=50.05)
    bandwidths = median_bandwidths(x, y)
    truth = float(mmd2_unbiased(x, y, bandwidths))
    # rounding the inputs is not the loss's doing: it is measured apart and taken off
    rounded = float(mmd2_unbiased(x.float().double(), y.float().double(), bandwidths))
    assert abs(truth) > 1e-3
    assert abs(float(mmd2_unbiased(x.float(), y.float(), bandwidths)) - rounded) < 2e-8


def test_bfloat16_autocast_changes_nothing() -> None:
    x, y = cloud(32, 64, "x", mean=5).float(), cloud(32, 64, "y", mean=5.2).float()
    plain = mmd2_unbiased(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mmd2_unbiased(x, y), plain)
    assert mmd2_unbiased(x.bfloat16(), y.bfloat16()).dtype == torch.float32


def test_gradients_are_right_and_do_not_pass_through_the_bandwidths() -> None:
    x, y = cloud(5, 3, "x").requires_grad_(), cloud(6, 3, "y", mean=1).requires_grad_()
    bandwidths = median_bandwidths(x, y)
    assert not bandwidths.requires_grad
    assert torch.autograd.gradcheck(lambda a, b: mmd2_unbiased(a, b, bandwidths), (x, y))
    by_default = torch.autograd.grad(mmd2_unbiased(x, y), x)[0]
    assert torch.allclose(by_default, torch.autograd.grad(mmd2_unbiased(x, y, bandwidths), x)[0])


def test_gradient_steps_bring_a_map_to_the_targets() -> None:
    scale, shift = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([scale, shift], lr=0.1)
    for step in range(100):
        optimizer.zero_grad()
        x, y = cloud(64, 2, "x", step).float(), cloud(64, 2, "y", step, mean=2, std=0.5).float()
        mmd2_unbiased(x * scale + shift, y).backward()
        optimizer.step()
    assert torch.allclose(shift, torch.full((2,), 2.0), atol=0.15)
    assert torch.allclose(scale, torch.full((2,), 0.5), atol=0.15)


def test_a_collapsed_cloud_has_a_finite_loss_and_gradient() -> None:
    x = torch.full((8, 16), 50.0, requires_grad=True)
    assert torch.equal(median_bandwidths(x, x, multipliers=(1.0, 2.0)), torch.tensor([1.0, 2.0]))
    loss = mmd2_unbiased(x, torch.full((8, 16), 50.0))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert x.grad is not None
    assert x.grad.isfinite().all()
    # nine in ten pairs coincide: the others still give a width
    lone = torch.cat([torch.zeros(18, 16), torch.ones(1, 16)])
    assert float(median_bandwidths(lone, lone[:1], multipliers=(1.0,))) == pytest.approx(4.0, rel=1e-5)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.zeros(1, 3), torch.zeros(4, 3)),
        (torch.zeros(4, 3), torch.zeros(1, 3)),
        (torch.zeros(4, 3), torch.zeros(4, 2)),
        (torch.zeros(4), torch.zeros(4)),
    ],
)
def test_refuses_what_has_no_mmd(x: torch.Tensor, y: torch.Tensor) -> None:
    with pytest.raises(PrefGenError, match="expected"):
        mmd2_unbiased(x, y)


@pytest.mark.parametrize("bandwidths", [[], [0.0], [1.0, -1.0]])
def test_refuses_bandwidths_that_are_none(bandwidths: list[float]) -> None:
    with pytest.raises(PrefGenError, match="bandwidths above 0"):
        mmd2_unbiased(torch.zeros(4, 3), torch.zeros(4, 3), bandwidths)


def test_permutation_test_tells_different_clouds_and_keeps_its_level() -> None:
    x = cloud(40, 4, "x")
    far = mmd_permutation_test(x, cloud(30, 4, "y", mean=1.0), n_permutations=99)
    assert far.p_value == pytest.approx(0.01)
    assert far.mmd2 == pytest.approx(float(mmd2_unbiased(x, cloud(30, 4, "y", mean=1.0))), abs=1e-12)
    assert abs(float(far.null.mean())) < 3 * float(far.null.std()) / 99**0.5
    same = [mmd_permutation_test(cloud(20, 4, "a", i), cloud(20, 4, "b", i), 49, i).p_value for i in range(60)]
    assert 0.3 < sum(same) / len(same) < 0.7
    assert sum(p <= 0.1 for p in same) <= 14


def test_permutation_test_is_a_function_of_its_seed() -> None:
    x, y = cloud(12, 4, "x"), cloud(9, 4, "y", mean=0.4)
    first, again, other = (mmd_permutation_test(x, y, 50, seed) for seed in (3, 3, 4))
    assert torch.equal(first.null, again.null)
    assert not torch.equal(first.null, other.null)
