"""One training step counted, not run: floating point operations and bytes held, on the meta device.

Operations are those of matrix products, convolutions and attention, a multiply-add as two, forward and backward. Bytes
are those of all tensors that live at once at the worst moment, as PyTorch's own bookkeeping frees them; what a kernel
needs inside itself, and what an allocator wastes, is not seen. Attention is counted as a fused kernel computes it: it
keeps queries, keys, values, its output and a number a row, never the square of the length.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from prefgen.benchmark.footprint import TensorCount


@dataclass(frozen=True, kw_only=True)
class StepCount:
    """`flops` of a step, and the bytes `held` at its worst moment: everything but parameters, gradients included."""

    flops: int
    held: int


def counted(run: Callable[[], Tensor | None]) -> StepCount:
    """Counts what `run` does, and the way back from the loss that it returns, if it returns one that has a way.

    It is run twice: PyTorch's counter of operations holds on to tensors that would long be gone.
    """
    held = TensorCount()
    with held, FusedAttention():
        _there_and_back(run)
    return StepCount(held=held.peak, flops=flops_of(run))


def flops_of(run: Callable[[], Tensor | None]) -> int:
    """The operations alone."""
    flops = FlopCounterMode(display=False)
    with warnings.catch_warnings(), flops, FusedAttention() as fused:
        warnings.simplefilter("ignore")
        _there_and_back(run)
    return flops.get_total_flops() + fused.flops


def _there_and_back(run: Callable[[], Tensor | None]) -> None:
    loss = run()
    if loss is not None and loss.requires_grad:
        loss.backward()


class FusedAttention:
    """While open, attention is a fused kernel that computes nothing and is counted: `flops` adds up.

    Forward two products of the scores' size; backward five, since the scores are made again. It stands in PyTorch's
    own place, not in a function mode: on the way back, where checkpointed blocks are run again, such modes are off.
    """

    def __init__(self) -> None:
        self.flops = 0
        self._stock: Any = None

    def __enter__(self) -> FusedAttention:
        module: Any = F
        self._stock, module.scaled_dot_product_attention = F.scaled_dot_product_attention, self._attend
        return self

    def __exit__(self, *_: object) -> None:
        module: Any = F
        module.scaled_dot_product_attention = self._stock

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        return _Fused.apply(query, key, value, self)  # pyright: ignore[reportReturnType]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, count: FusedAttention) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        ctx.count, ctx.product = count, 2 * query.numel() * key.shape[-2]
        count.flops += 2 * ctx.product
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        query, key, value = ctx.saved_tensors[:3]
        ctx.count.flops += 5 * ctx.product
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None
