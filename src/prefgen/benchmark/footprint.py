"""What painting takes, counted and not declared: rows through the generator, weights read, and memory held at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MIB = 2**20
ENTRANCES = ("conv_in", "pos_embed", "x_embedder", "patch_embed")
"""Where latents enter a network, by diffusers' names; every row passes there, however the network was called."""


class TensorCount(TorchDispatchMode):
    """While open, adds up the bytes of the tensors that operations make and that are still held.

    Unlike the process's memory the figure depends on no allocator and on no other program, and is the same on every
    machine. What an operation needs only inside itself is not seen. `peak` is the most bytes held at once, `weights`
    the bytes of all parameters that some operation read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, int] = {}
        self._read: dict[int, int] = {}
        self._now = 0
        self.peak = 0

    @property
    def weights(self) -> int:
        """Bytes of the parameters read so far, each counted once."""
        return sum(self._read.values())

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operation and counts what went in and what came out."""
        kwargs = kwargs or {}
        for x in tree_leaves((args, kwargs)):
            if isinstance(x, nn.Parameter):
                storage = x.untyped_storage()
                self._read[storage._cdata] = storage.nbytes()
        out = func(*args, **kwargs)
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self._hold(x.untyped_storage())
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, n_bytes = storage._cdata, storage.nbytes()
        if key in self._held or key in self._read:
            return
        self._held[key] = n_bytes
        self._now += n_bytes
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._release, key).atexit = False

    def _release(self, key: int) -> None:
        self._now -= self._held.pop(key, 0)


@dataclass(kw_only=True)
class RowCount:
    """How many rows have entered a network."""

    n_rows: int = 0


@contextmanager
def counted_rows(network: nn.Module) -> Iterator[RowCount]:
    """While open, counts the rows that enter a generator's network."""
    entrance = next((getattr(network, name) for name in ENTRANCES if hasattr(network, name)), network)
    count = RowCount()

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        count.n_rows += len(next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)))

    hook = entrance.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        yield count
    finally:
        hook.remove()


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What one call took: rows through the network, and MiB of weights read and of tensors held at once."""

    n_rows: int
    weights_mib: float
    tensors_mib: float

    @property
    def memory_mib(self) -> float:
        """Weights and tensors together: what the call would fit into."""
        return self.weights_mib + self.tensors_mib


def footprint_of(call: Callable[[], object], network: nn.Module) -> Footprint:
    """Runs `call` once and tells what it took; `network` is the generator's."""
    with counted_rows(network) as rows, TensorCount() as tensors:
        call()
    return Footprint(n_rows=rows.n_rows, weights_mib=tensors.weights / MIB, tensors_mib=tensors.peak / MIB)
