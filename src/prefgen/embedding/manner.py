"""What of a picture's embedding words explain, and what they do not: the *manner* of a picture.

A taste in words is one value or another, so tokens that say words are elected among pictures (`election`). What has no
word (how warm, how large, how much contrast) is a matter of degree, and of it the mean over pictures is right. The two
lie mixed in one embedding. Training pictures know their words: the words' linear part of the embeddings has one
covariance, what is left has another, and with both the best linear estimate of what is left in a new picture is a
matrix (a Wiener filter). Most of what is left is no manner but what only this picture shows. A manner is what its twin,
another subject by the same hand, shows as well; so the manner is read in the directions in which twins agree most of
all that embeddings do (ours, cf. linear discriminant analysis, here with the pairs for classes).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RELIABLE = 0.35
"""A direction belongs to the manner if twins share so much of its variance without a word."""
ROUNDING = 1e-4
"""Share of the mean variance that is taken for noise in every direction."""
MANNER_GAIN = 3.0
"""How much further than it is expected a manner is painted: an expectation lies near the middle."""
MANNER_CONTRAST = 0.5
"""How much of what is expected of the other side's pictures is shunned, besides."""


class Manner(nn.Module):
    """Splits CLIP embeddings [n, d_clip] into what words explain, [n, d_clip], and the manner, [n, d_manner].

    The manner has zero mean and unit variance in each dimension over the pictures it was fitted to, the most reliable
    dimension first.
    """

    mean: Tensor
    filter: Tensor
    whiten: Tensor
    own_share: Tensor
    others_share: Tensor

    def __init__(self, d_clip: int, d_manner: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(d_clip))
        self.register_buffer("filter", torch.zeros(d_clip, d_clip))
        self.register_buffer("whiten", torch.zeros(d_clip, d_manner))
        self.register_buffer("own_share", torch.ones(d_manner))
        self.register_buffer("others_share", torch.zeros(d_manner))

    @classmethod
    def fit(cls, embeddings: Tensor, twins: Tensor, words: Tensor) -> Manner:
        """From the embeddings [n, d_clip] of pictures and of their twins, and the words of both, int64 [n, n_families],
        a number for each word."""
        mean = embeddings.double().mean(0)
        pair = [shown.double() - mean for shown in (embeddings, twins)]
        explained = _explained((pair[0] + pair[1]) / 2, words)
        left = [shown - explained for shown in pair]
        n, d = explained.shape
        within_words = (left[0].T @ left[0] + left[1].T @ left[1]) / (2 * n)
        shared = (left[0].T @ left[1] + left[1].T @ left[0]) / (2 * n)
        seen = explained.T @ explained / n + within_words
        seen = seen + ROUNDING * seen.diagonal().mean() * torch.eye(d, dtype=torch.float64)
        whiten = torch.linalg.inv(torch.linalg.cholesky(seen))
        agreement, directions = torch.linalg.eigh(whiten @ shared @ whiten.T)
        n_held = max(1, int((agreement >= RELIABLE).sum()))
        made = cls(d, n_held)
        made.mean.copy_(mean)
        made.filter.copy_(torch.linalg.solve(seen, within_words))
        made.whiten.copy_(whiten.T @ directions.flip(1)[:, :n_held])
        return made

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """What words explain of the embeddings [..., d_clip], and their manner [..., d_manner]."""
        centred = embeddings - self.mean
        return embeddings - centred @ self.filter, centred @ self.whiten

    def learn_to_follow(self, own: Tensor, others: Tensor, shown: Tensor) -> None:
        """Fits what to expect of another picture of a side, by least squares in each dimension.

        `own` and `others` [n, d_manner] are the mean manners of people's pictures on a side and on the opposite one,
        `shown` [n, d_manner] those of further pictures on the first.
        """
        known = torch.stack([own, others, torch.ones_like(own)], -1).double().transpose(0, 1)
        shares = torch.linalg.lstsq(known, shown.double().T[..., None], driver="gelsd").solution[..., 0]
        self.own_share.copy_(shares[:, 0])
        self.others_share.copy_(shares[:, 1])

    def expected(self, own: Tensor, others: Tensor | None) -> Tensor:
        """The manner [..., d_manner] of a further picture of a side, by the mean manners of the known ones of that side
        and of the other (None where nothing is known)."""
        return own * self.own_share + (0 if others is None else others * self.others_share)

    def followed(self, own: Tensor, others: Tensor | None) -> Tensor:
        """The manner [..., d_manner] to paint in for one side: towards what is expected of its pictures, and away from
        what is expected of the other side's."""
        shunned = 0 if others is None else self.expected(others, own)
        return MANNER_GAIN * (self.expected(own, others) - MANNER_CONTRAST * shunned)


def _explained(centred: Tensor, words: Tensor) -> Tensor:
    """What a linear function of the words says of the centred embeddings [n, d]."""
    said = torch.cat([F.one_hot(column) for column in words.unbind(1)], 1).double()
    said = said - said.mean(0)
    few = torch.eye(said.shape[1], dtype=torch.float64)
    return said @ torch.linalg.solve(said.T @ said + 10 * few, said.T @ centred)


def mean_manner(manner: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean [..., d_manner] of manners [..., n, d_manner] by weights [..., n]; nobody's without weights."""
    return (manner * weights[..., None]).sum(-2) / weights.sum(-1, keepdim=True).clamp_min(1e-9)
