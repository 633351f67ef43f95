"""One step over several processes: DDP, or FSDP2 (`torch.distributed.fsdp.fully_shard`) where weights do not fit one.

Checkpoints hold whole tensors all the same, so that one process goes on where several have stopped, and the reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from prefgen.recipes.ranks import n_ranks

LossOfStep = Callable[[int, torch.Generator], Mapping[str, Tensor]]


class Step(nn.Module):
    """A step's losses as one forward pass: what DDP and FSDP2 wrap. Only the loss keeps its graph."""

    def __init__(self, module: nn.Module, loss_fn: LossOfStep) -> None:
        super().__init__()
        self.module, self.loss_fn = module, loss_fn

    def forward(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`loss`, and its parts detached."""
        losses = self.loss_fn(step, generator)
        return {name: value if name == "loss" else value.detach() for name, value in losses.items()}


def over_all_ranks(module: nn.Module, loss_fn: LossOfStep, cut_parts: Sequence[nn.Module] | None) -> LossOfStep:
    """The same losses, whose backward pass averages gradients over the ranks; `loss_fn` itself where there is one.

    Without `cut_parts` every rank holds all weights (DDP); with them they are cut (FSDP2).
    """
    if n_ranks() == 1:
        return loss_fn
    step = Step(module, loss_fn)
    if cut_parts is None:
        return DistributedDataParallel(step, find_unused_parameters=True, broadcast_buffers=False)
    cut(step, cut_parts)
    return step


def cut(root: nn.Module, parts: Sequence[nn.Module]) -> None:
    """Cuts the parameters of `parts` (a network's layers, each gathered for its own turn), then all others of `root`,
    over all ranks. Frozen and trained weights may lie in one part."""
    mesh = init_device_mesh("cpu", (n_ranks(),))
    for part in (*parts, root):
        fully_shard(part, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the parts of all ranks; every rank must ask. A tensor that was never cut comes back as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_like(value: Tensor, target: Tensor) -> Tensor:
    """The whole `value` as `target` lies: cut over the ranks where that is."""
    if not isinstance(target, DTensor):
        return value
    return distribute_tensor(value, target.device_mesh, target.placements)
