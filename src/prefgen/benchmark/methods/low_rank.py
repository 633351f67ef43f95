"""Low-rank updates of a network's attention, beside its weights and never in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
"""The linear layers of an attention that are updated: what diffusers' LoRA training scripts update."""


def attention_projections(unet: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of every attention by name, of self-attention and of cross-attention."""
    return {
        name: layer
        for name, layer in unet.named_modules()
        if isinstance(layer, nn.Linear) and name.endswith(PROJECTIONS) and ".attn" in name
    }


class LowRankUpdates(nn.Module):
    """`W x + strength · B A x` in every attention projection (LoRA, arXiv 2106.09685, eq. 3, with α = r).

    A starts as the paper's random matrix, B at zero, so that an untrained update changes nothing. The network's weights
    are never touched: updates join by forward hooks, which are gone when `heard` ends.
    """

    def __init__(self, unet: nn.Module, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        layers = attention_projections(unet).values()
        self.down = nn.ParameterList(
            nn.Parameter(torch.randn(rank, x.in_features, generator=generator) / math.sqrt(x.in_features))
            for x in layers
        )
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(x.out_features, rank)) for x in layers)

    @contextmanager
    def heard(self, unet: nn.Module, strength: float = 1.0) -> Iterator[None]:
        """While open, `unet` carries the updates."""
        handles = [
            layer.register_forward_hook(partial(self._add, place, strength))
            for place, layer in enumerate(attention_projections(unet).values())
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _add(self, place: int, strength: float, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        x = args[0]
        moved = F.linear(F.linear(x, self.down[place].to(x)), self.up[place].to(x))
        return output + strength * moved
