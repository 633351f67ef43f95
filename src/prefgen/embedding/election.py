"""One token out of many pictures' tokens: the one that most pictures agree on, not their mean.

A taste shows in a picture with some probability, so what a few pictures say of a family differs. The mean of "crimson"
and "teal" is neither, and a network that learned to hear single pictures hears mush (measured: dev/LOG.md). So each
token is elected: pictures vote for what is like their own token, the other side's pictures vote against it, and the
token that the whole embedding makes of everything counts as some pictures more (ours; a mode where e_u is a mean).

Who likes two things gets the commoner one that way, every time. So each picture also leads an election of its own, in
which the others vote the more the more they are like it: a *facet* of the taste, whole where the mean of two tastes
would be neither (ours).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

WHOLE = 2.0
"""The whole embedding's voice, in pictures."""
MAX_FACETS = 8
"""At most so many facets of a taste: those of the pictures with the strongest voices, the latest first among equals."""
LEADING_VOICE = 0.5
"""A picture leads an election if its voice is at least this share of the strongest: slips of the hand lead none."""


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


def facets(
    candidates: Tensor, weights: Tensor, against: Tensor, against_weights: Tensor, whole: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    """The elected tokens, then those of each facet, [1 + n_facets, n_tokens, d], and the voices that elected them,
    [1 + n_facets, n]; arguments as in `elected`.

    A facet is elected by voices that are multiplied by how like a picture is to the leading one, on average over its
    tokens; the other side's voices shrink by as much in all. Facets that are elected alike are one.
    """
    weights, against_weights = weights.float(), against_weights.float()
    found, heard = [elected(candidates, weights, against, against_weights, whole, width)], [weights]
    tokens = candidates.detach().float().unbind(1)
    alike = torch.stack([likeness(one, one, width) for one in tokens]).mean(0)
    for leader in _leaders(weights.tolist()):
        voices = weights * alike[leader]
        less = against_weights * (voices.sum() / weights.sum())
        facet = elected(candidates, voices, against, less, whole, width)
        if not any(torch.equal(facet, other) for other in found[1:]):
            found.append(facet)
            heard.append(voices)
    return torch.stack(found), torch.stack(heard)


def _leaders(voices: Sequence[float]) -> list[int]:
    """Places of the pictures that lead a facet, in the order of the history."""
    strongest = max(voices)
    if strongest <= 0 or len(voices) < 2:
        return []
    may = [place for place, voice in enumerate(voices) if voice >= LEADING_VOICE * strongest]
    return sorted(sorted(may, key=lambda place: (-voices[place], -place))[:MAX_FACETS])
