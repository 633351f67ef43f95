"""Whose taste is it? Retrieval of a person's own attribute string among those of others.

The check that stands beside MMD, which cannot tell a map from the same map with its users permuted. *Ours*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

from prefgen.alignment._clouds import check_clouds, widen
from prefgen.core import InputError, torch_generator

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

N_BOOTSTRAP = 2000
TIE_COSINE = 1e-6


class RetrievalResult(NamedTuple):
    """The outcome of `retrieval_top1`; `low` and `high` bound the accuracy with 95 % confidence."""

    accuracy: float
    low: float
    high: float
    chance: float
    n_users: int
    n_candidates: int


def _candidates(n_users: int, n_candidates: int, seed: int) -> Bool[Tensor, "n n"]:
    """Row i: the own target i and `n_candidates − 1` others drawn without replacement."""
    ranks = torch.rand(n_users, n_users, generator=torch_generator("retrieval_candidates", seed))
    chosen = ranks.fill_diagonal_(-1.0).argsort(1)[:, :n_candidates]
    return torch.zeros(n_users, n_users, dtype=torch.bool).scatter_(1, chosen, True)


@torch.no_grad()
def retrieval_top1(
    mapped: Float[Tensor, "n d"], targets: Float[Tensor, "n d"], n_candidates: int = 50, seed: int = 0
) -> RetrievalResult:
    """Share of users whose mapped embedding is nearest to their own attribute-string embedding among the candidates.

    Row i of `mapped` and of `targets` belong to one user. Each cloud is centred on its own mean, for what all share
    names nobody; then cosine. Every user meets the own target and `n_candidates − 1` seeded strangers' (all of them
    where there are fewer; `n_candidates` and `chance` of the result say how many). A tie gives the fair share, so a map
    that collapsed to one point, or two users of one string, score what guessing would. Interval: percentile bootstrap
    over users. Raises `InputError` for fewer than two users or unequal numbers of rows.
    """
    check_clouds(mapped, targets, n_least=2, paired=True)
    if n_candidates < 2:
        raise InputError(f"expected at least 2 candidates, got {n_candidates}")
    n_users = len(mapped)
    n_candidates = min(n_candidates, n_users)
    mapped, targets = (cloud.cpu() for cloud in widen(mapped, targets))
    cosines = F.normalize(mapped - mapped.mean(0), dim=1) @ F.normalize(targets - targets.mean(0), dim=1).T
    cosines = cosines.masked_fill(~_candidates(n_users, n_candidates, seed), -torch.inf)
    nearest = cosines >= cosines.max(1, keepdim=True).values - TIE_COSINE
    score = nearest.diagonal().double() / nearest.sum(1)
    draws = torch.randint(n_users, (N_BOOTSTRAP, n_users), generator=torch_generator("retrieval_bootstrap", seed))
    low, high = score[draws].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return RetrievalResult(float(score.mean()), low, high, 1 / n_candidates, n_users, n_candidates)
