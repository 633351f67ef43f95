"""What of a picture's embedding words explain, and what they do not: the *manner* of a picture.

A taste in words is one value or another, so tokens that say words are elected among pictures (`election`). What has no
word (how warm, how large, how much contrast) is a matter of degree, and of it the mean over pictures is right. The two
lie mixed in one embedding. Training pictures know their words: the words' linear part of the embeddings has one
covariance, what is left has another, and with both the best linear estimate of what is left in a new picture is a
matrix (a Wiener filter; ours, cf. whitening by within-class scatter in linear discriminant analysis).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HELD = 0.999
"""Share of the manner's variance that is kept; rare things of little variance are what some people like most."""
MANNER_GAIN = 0.8
"""How far a side's manner is followed from nobody's."""
MANNER_CONTRAST = 1.6
"""How far, besides, away from the other side's: what is liked and disliked lie on opposite sides of the middle."""


class Manner(nn.Module):
    """Splits CLIP embeddings [n, d_clip] into what words explain, [n, d_clip], and the manner, [n, d_manner].

    The manner has zero mean and unit variance in each dimension over the pictures it was fitted to.
    """

    mean: Tensor
    filter: Tensor
    whiten: Tensor

    def __init__(self, d_clip: int, d_manner: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(d_clip))
        self.register_buffer("filter", torch.zeros(d_clip, d_clip))
        self.register_buffer("whiten", torch.zeros(d_clip, d_manner))

    @classmethod
    def fit(cls, embeddings: Tensor, words: Tensor) -> Manner:
        """From pictures' embeddings [n, d_clip] and their words int64 [n, n_families], a number for each word."""
        seen = embeddings.double()
        mean = seen.mean(0)
        centred = seen - mean
        said = torch.cat([F.one_hot(column) for column in words.unbind(1)], 1).double()
        said = said - said.mean(0)
        few = torch.eye(said.shape[1], dtype=torch.float64)
        explained = said @ torch.linalg.solve(said.T @ said + 10 * few, said.T @ centred)
        left = centred - explained
        among_words, within_words = (x.T @ x / len(seen) for x in (explained, left))
        rounding = 1e-6 * within_words.diagonal().mean() * torch.eye(len(mean), dtype=torch.float64)
        taken_out = torch.linalg.solve(among_words + within_words + rounding, within_words)
        rest = centred @ taken_out
        variances, directions = torch.linalg.eigh(rest.T @ rest / len(seen))
        variances, directions = variances.flip(0), directions.flip(1)
        n_held = int((variances.cumsum(0) / variances.sum() < HELD).sum()) + 1
        made = cls(seen.shape[1], n_held)
        made.mean.copy_(mean)
        made.filter.copy_(taken_out)
        made.whiten.copy_(taken_out @ (directions[:, :n_held] * variances[:n_held].clamp_min(1e-12).rsqrt()))
        return made

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """What words explain of the embeddings [..., d_clip], and their manner [..., d_manner]."""
        centred = embeddings - self.mean
        return embeddings - centred @ self.filter, centred @ self.whiten


def mean_manner(manner: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean [..., d_manner] of manners [..., n, d_manner] by weights [..., n]; nobody's without weights."""
    return (manner * weights[..., None]).sum(-2) / weights.sum(-1, keepdim=True).clamp_min(1e-9)


def followed_manner(own: Tensor, others: Tensor | None) -> Tensor:
    """The manner to paint in [..., d_manner] for one side's mean manner and the other's (None where nothing is known):
    towards the one, and away from the other."""
    return MANNER_GAIN * own if others is None else MANNER_GAIN * own + MANNER_CONTRAST * (own - others)
