"""Maximum mean discrepancy: how far apart two clouds of embeddings are, as distributions.

The loss that brings the projected `e_sem` of many users to the text embeddings of their attribute strings (PrefGen,
arXiv 2512.06020: "a distribution-level loss"). The kernel, the bandwidths and the estimator are *ours*: an RBF mixture,
the median heuristic, and the unbiased U-statistic of Gretton et al., JMLR 2012, equation 3.

MMD sees the two clouds and nothing else: permute the rows of either and it does not move. That the right point belongs
to the right person has to be measured beside it, see `retrieval_top1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from prefgen.alignment._clouds import check_clouds, widen
from prefgen.core import InputError, torch_generator

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class MMDTest(NamedTuple):
    """The outcome of `mmd_permutation_test`."""

    mmd2: float
    """MMD² between the clouds as they came."""
    p_value: float
    """Share of random splits of the pooled points at least as far apart; small means that the clouds differ."""
    null: Float[Tensor, " n_permutations"]
    """MMD² of every random split."""


def _squared_distances(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """‖a_i − b_j‖². Callers subtract a common shift first: the shorter the vectors, the less cancels in float32."""
    return (a.square().sum(1)[:, None] + b.square().sum(1)[None, :] - 2 * a @ b.T).clamp_min(0)


def _shifted(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Both clouds less their common mean. Distances do not depend on it, so no gradient has to pass through it."""
    shift = torch.cat([x.detach(), y.detach()]).mean(0)
    return x - shift, y - shift


def _kernel(squared: Float[Tensor, "n m"], bandwidths: Float[Tensor, " b"]) -> Float[Tensor, "n m"]:
    """k = Σ_b exp(−‖a−b‖² / (2·σ_b²))."""
    return sum((torch.exp(-squared / (2 * sigma.square())) for sigma in bandwidths), torch.zeros_like(squared))


def _off_diagonal_mean(kernel: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))


def _as_bandwidths(
    bandwidths: Float[Tensor, " b"] | Sequence[float] | None, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]
) -> Float[Tensor, " b"]:
    if bandwidths is None:
        return median_bandwidths(x, y)
    sigmas = torch.as_tensor(bandwidths, dtype=x.dtype, device=x.device).detach().reshape(-1)
    if not len(sigmas) or not bool((sigmas > 0).all()):
        raise InputError(f"expected bandwidths above 0, got {sigmas.tolist()}")
    return sigmas


@torch.no_grad()
def median_bandwidths(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], multipliers: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0)
) -> Float[Tensor, " b"]:
    """Kernel widths σ_b: the median distance between any two pooled points, times each multiplier.

    Needs no gradient and carries none. Where over half of the pairs coincide the median of the others is taken, where
    all do, 1: a collapsed cloud still has a finite loss.
    """
    check_clouds(x, y)
    pooled = torch.cat(_shifted(*widen(x, y)))
    with torch.autocast(pooled.device.type, enabled=False):
        rows, columns = torch.triu_indices(len(pooled), len(pooled), offset=1, device=pooled.device)
        squared = _squared_distances(pooled, pooled)[rows, columns]
    rounding = 8 * torch.finfo(pooled.dtype).eps * pooled.square().sum(1).max()  # what two equal points may show
    apart = squared[squared > rounding]
    median = (apart if 2 * len(apart) < len(squared) else squared).median().sqrt() if len(apart) else 1.0
    return median * pooled.new_tensor(list(multipliers))


def mmd2_unbiased(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    bandwidths: Float[Tensor, " b"] | Sequence[float] | None = None,
) -> Float[Tensor, ""]:
    """Unbiased MMD² between two clouds, a scalar that gradients flow through.

    `MMD²ᵤ = 1/(n(n−1)) Σ_{i≠j} k(xᵢ,xⱼ) + 1/(m(m−1)) Σ_{i≠j} k(yᵢ,yⱼ) − 2/(nm) Σ_{i,j} k(xᵢ,yⱼ)`

    Zero on average when both clouds come from one distribution, so it may be slightly negative; it is not clamped,
    for clamping would bias it. `bandwidths` are the σ_b (default: `median_bandwidths(x, y)`), always without gradient.
    Computed in float32 at least, under autocast too. Raises `InputError` for fewer than two points in either cloud.

    >>> import torch
    >>> mmd2_unbiased(torch.tensor([[0.0], [0.0]]), torch.tensor([[3.0], [3.0]]), bandwidths=[0.1])
    tensor(2.)
    """
    check_clouds(x, y, n_least=2)
    x, y = _shifted(*widen(x, y))
    with torch.autocast(x.device.type, enabled=False):
        sigmas = _as_bandwidths(bandwidths, x, y)
        xx, yy, xy = (_kernel(_squared_distances(a, b), sigmas) for a, b in ((x, x), (y, y), (x, y)))
        level = xy.detach().mean()  # cancels in the sum below; without it float32 spends its digits there
        return _off_diagonal_mean(xx - level) + _off_diagonal_mean(yy - level) - 2 * (xy - level).mean()


@torch.no_grad()
def mmd_permutation_test(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    n_permutations: int = 200,
    seed: int = 0,
    bandwidths: Float[Tensor, " b"] | Sequence[float] | None = None,
) -> MMDTest:
    """Are the two clouds one distribution? MMD² against that of random splits of the pooled points.

    `p_value = (1 + #{null ≥ observed}) / (1 + n_permutations)`, valid at any sample size. The median bandwidths are
    those of the pooled points, the same for every split.
    """
    check_clouds(x, y, n_least=2)
    x, y = _shifted(*widen(x, y))
    n, m = len(x), len(y)
    with torch.autocast(x.device.type, enabled=False):
        sigmas = _as_bandwidths(bandwidths, x, y)
        pooled = torch.cat([x, y])
        kernel = _kernel(_squared_distances(pooled, pooled), sigmas).fill_diagonal_(0)
        order = torch.rand(n_permutations, n + m, generator=torch_generator("mmd_permutation_test", seed)).argsort(1)
        order = torch.cat([torch.arange(n + m)[None], order])  # the first row is the split that was given
        in_x = torch.zeros_like(order, dtype=kernel.dtype).scatter_(1, order[:, :n], 1.0).to(kernel.device)
        in_y = 1 - in_x
        from_x, from_y = in_x @ kernel, in_y @ kernel
        xx, yy, xy = (from_x * in_x).sum(1), (from_y * in_y).sum(1), (from_x * in_y).sum(1)
        mmd2 = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
    observed, null = mmd2[0], mmd2[1:]
    n_beyond = int((null >= observed).sum())
    return MMDTest(float(observed), (1 + n_beyond) / (1 + n_permutations), null)
