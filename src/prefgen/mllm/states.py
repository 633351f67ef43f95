"""What a language model holds of a history, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prefgen.core import Side
from prefgen.mllm.packing import PackedBatch
from prefgen.mllm.wording import Told

SIDES: tuple[Side, Side] = ("like", "dislike")


@dataclass(frozen=True, kw_only=True)
class SideStates:
    """Hidden states of one side: `last` at the last token of its question, `mean` over its picture tokens by weight.

    Float [n_states, d] for one history, [batch, n_states, d] for several; n_states follows the states asked for (by
    default the embeddings and every layer's output). `mean` is zero where the side holds no picture.
    """

    last: Tensor
    mean: Tensor


@dataclass(frozen=True, kw_only=True)
class HistoryStates:
    """Hidden states of both sides."""

    like: SideStates
    dislike: SideStates


def side_weights(batch: PackedBatch, rows: list[int], histories: Sequence[Sequence[Told]], image_token: int) -> Tensor:
    """[batch, 2, s]: what each token counts in the mean of the likes and of the dislikes. `rows` tell the histories."""
    weights = torch.zeros(len(histories), 2, batch.input_ids.shape[1], device=batch.input_ids.device)
    for h, (row, items) in enumerate(zip(rows, histories)):
        at = (batch.input_ids[row] == image_token).nonzero()[:, 0]
        spans = at.split([n for n, owner in zip(batch.n_tokens, batch.owners) if owner == row])
        ordered = [item for side in SIDES for item in items if item.side == side]
        for item, span in zip(ordered, spans):
            weights[h, SIDES.index(item.side), span] = item.weight
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
