"""One token out of many pictures' tokens: the one that most pictures agree on, not their mean.

A taste shows in a picture with some probability, so what a few pictures say of a family differs. The mean of "crimson"
and "teal" is neither, and a network that learned to hear single pictures hears mush (measured: dev/LOG.md). So each
token is elected: pictures vote for what is like their own token, the other side's pictures vote against it, and the
token that the whole embedding makes of everything counts as some pictures more (ours; a mode where e_u is a mean).
"""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE = 2.0
"""The whole embedding's voice, in pictures."""


def likeness(a: Tensor, b: Tensor, width: float) -> Tensor:
    """exp(-|a_i - b_j|² / (2·d·width²)), [n_a, n_b] for `a` [n_a, d] and `b` [n_b, d]."""
    return torch.exp(-torch.cdist(a, b).square() / (2 * a.shape[-1] * width**2))


def elected(
    candidates: Tensor, weights: Tensor, against: Tensor, against_weights: Tensor, whole: Tensor, width: float
) -> Tensor:
    """For each token the candidate with the most votes, [n_tokens, d].

    `candidates` [n, n_tokens, d] are the tokens of each picture of the side heard alone, `against` [m, n_tokens, d]
    those of the other side (m may be 0), `whole` [n_tokens, d] those of the whole embedding. A picture votes with its
    weight, [n] and [m]; on a draw the earlier picture wins. `width` is how far two tokens may lie apart, per
    dimension, and still speak for each other.
    """
    chosen = []
    voters, opponents, everything = (tokens.detach().float() for tokens in (candidates, against, whole))
    weights, against_weights = weights.float(), against_weights.float()
    for k in range(candidates.shape[1]):
        mine = voters[:, k]
        votes = likeness(mine, mine, width) @ weights + WHOLE * likeness(mine, everything[k : k + 1], width)[:, 0]
        if len(against):
            votes = votes - likeness(mine, opponents[:, k], width) @ against_weights
        chosen.append(candidates[int(votes.argmax()), k])
    return torch.stack(chosen)
