"""Attention written out for training on CPUs, where PyTorch's fused kernels' backward passes are slow.

Measured on two cores at 64 tokens and 5 heads, forward and backward: fused 24 ms, the stock "math" path 12 ms (its
safe softmax looks at every row for all-masked ones), written out in the inputs' own dtype 5 ms.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def written_out(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` as two products and a softmax: [..., n, d] from [..., n, d] and [..., m, d].

    Differs from the stock function in rounding, and in a row whose keys are all masked: it attends to all alike.
    """
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    with torch.autocast(query.device.type, enabled=False):
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-1, -2)
        lowest = torch.finfo(scores.dtype).min
        if is_causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~seen, lowest)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, lowest)
        elif attn_mask is not None:
            scores = scores + attn_mask.to(scores.dtype).clamp(min=lowest)
        weights = F.dropout(scores.softmax(-1), dropout_p)
        return weights.to(value.dtype) @ value


_STOCK = F.scaled_dot_product_attention


@contextmanager
def stock_attention() -> Generator[None, None, None]:
    """Within, attention is PyTorch's own again: for large networks, and where gradient checkpointing runs a block again
    after the loss is known, when `written_out_attention` is over and other tensors would come out."""
    module: Any = F
    outer = module.scaled_dot_product_attention
    module.scaled_dot_product_attention = _STOCK
    try:
        yield
    finally:
        module.scaled_dot_product_attention = outer


@contextmanager
def written_out_attention() -> Generator[None, None, None]:
    """Within, every network that asks PyTorch for attention gets `written_out`."""
    module: Any = F
    stock = module.scaled_dot_product_attention
    module.scaled_dot_product_attention = written_out
    try:
        yield
    finally:
        module.scaled_dot_product_attention = stock
