"""The losses that MMD is compared with, all called as `loss(x, y)` on points `[n, d]` and targets `[m, d]`.

Each entry of `ALIGNMENT_LOSSES` says what its minimum can identify and what it is blind to. PrefGen (arXiv 2512.06020)
names a point-wise loss as its ablation and reports that it collapses; the choice of rivals is *ours*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from prefgen.alignment._clouds import check_clouds, widen
from prefgen.alignment.mmd import mmd2_unbiased
from prefgen.core import ConfigError, nearest_hint, torch_generator

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def pointwise_mse(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean squared difference, row by row and coordinate by coordinate.

    Its best map is the conditional mean E[y | x]: where a history leaves several attribute strings possible, it answers
    with their average, and the mapped cloud is narrower than the targets (collapse).
    """
    check_clouds(x, y, paired=True)
    x, y = widen(x, y)
    return F.mse_loss(x, y)


def cosine_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean of 1 − cos(x_i, y_i): directions only, so lengths stay free; averages what is ambiguous, as MSE does."""
    check_clouds(x, y, paired=True)
    x, y = widen(x, y)
    return (1 - F.cosine_similarity(x, y, dim=1)).mean()


def info_nce(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], temperature: float = 0.07) -> Float[Tensor, ""]:
    """Symmetric InfoNCE over cosines (CLIP, arXiv 2103.00020): each row must find its own target in the batch.

    Knows whose point is whose, but asks only for the order of similarities: a cloud in another place, of another shape
    (the "modality gap", arXiv 2203.02053) can reach a low loss.
    """
    check_clouds(x, y, n_least=2, paired=True)
    x, y = widen(x, y)
    with torch.autocast(x.device.type, enabled=False):
        logits = F.normalize(x, dim=1) @ F.normalize(y, dim=1).T / temperature
    own = torch.arange(len(x), device=x.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def sliced_wasserstein(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], n_projections: int = 64, seed: int = 0
) -> Float[Tensor, ""]:
    """Squared sliced 2-Wasserstein distance (Bonneel et al. 2015): mean over random directions of the exact 1-D W₂².

    A distribution loss like MMD, blind to a permutation; never negative, biased upwards in small batches. The
    directions follow `seed`: give the step number in training, so that every step looks along others.
    """
    check_clouds(x, y)
    x, y = widen(x, y)
    n, m = len(x), len(y)
    directions = torch.randn(x.shape[1], n_projections, generator=torch_generator("sliced_wasserstein", seed))
    directions = F.normalize(directions, dim=0).to(x)
    # between two neighbouring levels both quantile functions are constant, so the integral over levels is a sum
    levels = torch.cat([torch.arange(n + 1).double() / n, torch.arange(m + 1).double() / m]).sort().values
    middles, widths = (levels[1:] + levels[:-1]) / 2, levels.diff().to(x)
    with torch.autocast(x.device.type, enabled=False):
        x_quantiles = (x @ directions).sort(0).values[(middles * n).long().clamp_max(n - 1).to(x.device)]
        y_quantiles = (y @ directions).sort(0).values[(middles * m).long().clamp_max(m - 1).to(x.device)]
        return (widths[:, None] * (x_quantiles - y_quantiles).square()).sum(0).mean()


@dataclass(frozen=True, kw_only=True)
class AlignmentLoss:
    """One way to bring points to targets, called as `loss(x, y)`, with a word on what it can and cannot tell."""

    compute: Callable[..., Tensor]
    paired: bool
    """Whether row i of x must belong to row i of y."""
    identifies: str
    blind_to: str

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return self.compute(x, y)


ALIGNMENT_LOSSES: dict[str, AlignmentLoss] = {
    "mmd": AlignmentLoss(
        compute=mmd2_unbiased,
        paired=False,
        identifies="the whole distribution (the RBF kernel is characteristic): place, spread and shape of the cloud",
        blind_to="who is who: any permutation of the rows, any map that keeps the distribution",
    ),
    "sliced_wasserstein": AlignmentLoss(
        compute=sliced_wasserstein,
        paired=False,
        identifies="the whole distribution, through its one-dimensional shadows",
        blind_to="who is who, as MMD; in small batches also differences below its bias",
    ),
    "mse": AlignmentLoss(
        compute=pointwise_mse,
        paired=True,
        identifies="the conditional mean of the target given the point, and so who is who",
        blind_to="the spread around that mean: an ambiguous history is mapped to an average, the cloud collapses",
    ),
    "cosine": AlignmentLoss(
        compute=cosine_distance,
        paired=True,
        identifies="the mean direction of the target given the point",
        blind_to="every length, and the spread around the mean direction",
    ),
    "info_nce": AlignmentLoss(
        compute=info_nce,
        paired=True,
        identifies="who is who within a batch",
        blind_to="every length, and the place and shape of the cloud as long as the own target ranks first",
    ),
}
"""Every alignment loss by its name in a recipe."""


def alignment_loss(name: str) -> AlignmentLoss:
    """The loss of that name, or a `ConfigError` that names the nearest one."""
    if name not in ALIGNMENT_LOSSES:
        hint = nearest_hint(name, ALIGNMENT_LOSSES)
        raise ConfigError(f"expected an alignment loss out of {', '.join(ALIGNMENT_LOSSES)}, got {name!r}", hint=hint)
    return ALIGNMENT_LOSSES[name]
