"""Which words a person's pictures stand for: user tokens were taught to lie where the words of a taste lie (ours)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LEAST_SHOWN = 0.5
"""A word that less than this of a picture shows is not said."""


def word_states(
    encode: Callable[[list[str]], Tensor], n_tokens: Callable[[str], int], words: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Every word's state [n_words, d] and the state of silence [d].

    `encode` gives texts' states [n, length, d], a first token before them; `n_tokens` how many tokens a word has. A
    word's state is the mean over its tokens, the word standing alone; silence is what an empty text leaves everywhere.
    """
    silence = encode([""])[0, 1:].mean(0)
    states = [encode([word])[0, 1 : 1 + n_tokens(word)].mean(0) for word in words]
    return torch.stack(states) if states else silence.new_zeros(0, len(silence)), silence


def shown_words(tokens: Tensor, states: Tensor, silence: Tensor, width: float) -> Tensor:
    """How surely each picture shows each word, [n, n_words] in [0, 1].

    `tokens` [n, n_tokens, d] are those of each picture heard alone. A token's place is shared among the words and
    silence by exp(-|token - state|² / (2·d·width²)); the token that says a word most surely counts.
    """
    places = torch.cat([states, silence[None]])
    distance = torch.cdist(tokens, places.expand(len(tokens), -1, -1)).square()
    shares = (-distance / (2 * tokens.shape[-1] * width**2)).softmax(-1)
    return shares[..., :-1].amax(1)


def words_of_taste(
    words: Sequence[str], shown: Tensor, liked: Tensor, weights: Tensor, least_weight: float = 0.1
) -> dict[str, list[tuple[str, float, float]]]:
    """`{"likes": [(word, weight, confidence), …], "dislikes": […]}`, strongest first.

    `shown` [n, n_words], `liked` bool [n], `weights` [n]. A word's weight is the share of one side's pictures that show
    it less the other side's; its confidence is that side's part of all that show it, one picture of either side added.
    """
    sides = {
        "likes": (liked.to(weights) * weights) @ shown,
        "dislikes": ((~liked).to(weights) * weights) @ shown,
    }
    whole = {"likes": (liked.to(weights) * weights).sum(), "dislikes": ((~liked).to(weights) * weights).sum()}
    shares = {side: seen / whole[side].clamp_min(1e-6) for side, seen in sides.items()}
    found: dict[str, list[tuple[str, float, float]]] = {}
    for side, other in (("likes", "dislikes"), ("dislikes", "likes")):
        weight = shares[side] - shares[other]
        confidence = (sides[side] + 1) / (sides[side] + sides[other] + 2)
        held = (weight >= least_weight) & (sides[side] >= LEAST_SHOWN)
        entries = [(words[int(i)], float(weight[i]), float(confidence[i])) for i in held.nonzero()[:, 0].tolist()]
        found[side] = sorted(entries, key=lambda entry: -entry[1])
    return found
