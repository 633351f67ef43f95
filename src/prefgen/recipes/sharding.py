"""One step over several processes: DDP, or FSDP2 (`torch.distributed.fsdp.fully_shard`) where weights do not fit one.

Checkpoints hold whole tensors all the same, so that one process goes on where several have stopped, and the reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from prefgen.core import ConfigError
from prefgen.recipes.ranks import alone, is_first, n_ranks

T = TypeVar("T")
LossOfStep = Callable[[int, torch.Generator], Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """What is cut over the ranks (FSDP2): the `layers`, each gathered for its own turn, inner before outer, then all
    other weights of what is trained and of the frozen networks `beside` it. Frozen and trained weights may lie in one
    layer. `device` is where a rank computes and keeps its part, wherever the weights lay before."""

    layers: Sequence[nn.Module]
    device: torch.device
    beside: Sequence[nn.Module] = ()


def layers_of(network: nn.Module) -> list[nn.Module]:
    """What a network applies one after another: the elements of its module lists that are made of several modules (the
    blocks of a UNet or transformer and what they are made of), inner before outer."""
    found: list[nn.Module] = []
    for parent in network.modules():
        if isinstance(parent, nn.ModuleList):
            found += [one for one in parent if not isinstance(one, nn.ModuleDict) and _n_with_weights(one) > 1]
    return found[::-1]


def _n_with_weights(module: nn.Module) -> int:
    return sum(any(True for _ in child.parameters()) for child in module.children())


def check_cut(n_processes: int, *, four_bit: bool) -> None:
    """Raises `ConfigError` where weights cannot be cut: in one process, and in four bits, whose bytes are no numbers
    that could be cut row by row."""
    if four_bit:
        raise ConfigError("expected frozen weights as they are with --shard, got four bits", hint="--no-load-4bit")
    if n_processes == 1:
        raise ConfigError(
            "expected several processes with --shard, got one",
            hint="start them with torchrun --nproc_per_node N -m prefgen train",
        )


class Step(nn.Module):
    """A step's losses as one forward pass: what DDP and FSDP2 wrap. Only the loss keeps its graph."""

    def __init__(self, module: nn.Module, loss_fn: LossOfStep, beside: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.module, self.loss_fn, self.beside = module, loss_fn, nn.ModuleList(beside)

    def forward(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`loss`, and its parts detached."""
        losses = self.loss_fn(step, generator)
        return {name: value if name == "loss" else value.detach() for name, value in losses.items()}

    def within(self, function: Callable[[], T]) -> T:
        """`function()`, as if it were the forward pass."""
        return function()


def by_itself(function: Callable[[], T]) -> T:
    """What `function` finds with this process's own, whole weights; it waits for no other process."""
    with alone():
        return function()


def over_all_ranks(
    module: nn.Module, loss_fn: LossOfStep, cut: Cut | None
) -> tuple[LossOfStep, Callable[[Callable[[], T]], T]]:
    """The same losses, whose backward pass averages gradients over the ranks (`loss_fn` itself where there is one); and
    how a function is run that uses the weights without learning.

    Without `cut` every rank holds all weights (DDP), and may run such a function by itself. Where they are cut (FSDP2)
    all ranks must run it at once, each on the whole of its data.
    """
    if n_ranks() == 1:
        return loss_fn, by_itself
    if cut is None:
        step = Step(module, loss_fn)
        return DistributedDataParallel(step, find_unused_parameters=True, broadcast_buffers=False), by_itself
    sharded: Any = Step(module, loss_fn, cut.beside)
    mesh = init_device_mesh(cut.device.type, (n_ranks(),))
    for part in (*cut.layers, sharded):
        fully_shard(part, mesh=mesh)
    register_fsdp_forward_method(sharded, "within")

    def by_all(function: Callable[[], T]) -> T:
        try:
            with torch.no_grad():
                return by_itself(lambda: sharded.within(function))
        finally:
            sharded.reshard()  # else the next pass would use these weights, whatever has been copied into them

    return sharded, by_all


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the parts of all ranks; every rank must ask. A tensor that was never cut comes back as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def to_be_written(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors on the first rank, in main memory where they were cut, one after another; nothing on the others,
    which must ask as well."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        one = whole(tensor)
        if is_first():
            found[name] = one.cpu() if isinstance(tensor, DTensor) else one
    return found


def cut_like(value: Tensor, target: Tensor) -> Tensor:
    """The whole `value` as `target` lies: cut over the ranks where that is."""
    if not isinstance(target, DTensor):
        return value
    return distribute_tensor(value, target.device_mesh, target.placements)
