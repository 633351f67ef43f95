"""Several processes train as one: whose rows are whose, and rows and means over all of them, with gradient.

Every rank draws the same global batch (a step's draws depend on its number alone) and computes its own rows of it.
What looks at rows together (MMD, contrasts, means) looks at the rows of all ranks, so every rank holds the same loss,
that of one process with the whole batch. Backward passes are the true adjoints: a rank receives the gradients of all
ranks' losses. Averaged over ranks, as DDP and FSDP2 do, they are the gradient of the one loss, whether a weight has
seen a rank's own rows or all of them: with `L_r(θ_1, …, θ_R)` the loss of rank r, all equal where all `θ` are,
`∇L = Σ_s ∂/∂θ_s (1/R · Σ_r L_r)`.

With one process, and within `alone`, every function here hands through what it is given, bit for bit.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from prefgen.core import ConfigError, PrefGenError

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long ranks wait for one that paints or measures alone. A rank that dies is noticed at once all the same."""
_LOST = ("Connection closed", "Connection reset", "Connection refused", "Broken pipe", "recvValue failed", "gloo")


class RankLostError(PrefGenError):
    """Another process of the run has ended, so that this one cannot go on."""


class _Here:
    """This process's place: the group that rows travel in (apart from that of gradients, so that neither order of
    messages depends on the other), and how many `alone` it is within."""

    group: Any = None
    n_alone = 0


def launched() -> int:
    """How many processes the launcher says there are (torchrun's and accelerate's variables); 1 without one."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def fsdp_asked_for() -> bool:
    """Whether accelerate was told to cut weights (`distributed_type: FSDP`); it does not do so by itself."""
    return (os.environ.get("ACCELERATE_USE_FSDP") or "").lower() in ("true", "1")


def check_launch(n_wanted: int | None) -> None:
    """Raises `ConfigError` where fewer or more processes run than were asked for: `accelerate launch --cpu` silently
    starts a single one."""
    started, wanted = launched(), n_wanted
    asked_accelerate = any(name.startswith("ACCELERATE_") for name in os.environ) and "MASTER_ADDR" in os.environ
    if wanted is None and started == 1 and asked_accelerate and "RANK" not in os.environ:
        raise ConfigError(
            "accelerate was asked for several processes and started one",
            hint="use torchrun --nproc_per_node N, or --processes 1 if one is meant",
        )
    if wanted is not None and wanted != started:
        raise ConfigError(
            f"expected {wanted} processes, the launcher started {started}",
            hint=f"start them with torchrun --nproc_per_node {wanted} -m prefgen train",
        )


@contextmanager
def joined(n_wanted: int | None = None) -> Iterator[None]:
    """Within, the processes of one launch are ranks of one run. Nothing happens where there is one process.

    Raises:
        ConfigError: another number of processes runs than was asked for.
        RankLostError: another process ended.
    """
    check_launch(n_wanted)
    if launched() == 1 or dist.is_initialized():
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():  # a card each; what lies on the CPU goes the way it goes everywhere
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK") or 0))
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
        _Here.group = dist.new_group(backend=backend, timeout=PATIENCE)
        yield
    except RuntimeError as error:
        if any(sign in str(error) for sign in _LOST):
            lost = f"rank {os.environ['RANK']} stops: another process of this run has ended"
            raise RankLostError(lost, hint="its own message says why; the same command resumes") from None
        raise
    finally:
        _Here.group = None
        if dist.is_initialized():
            dist.destroy_process_group()


def n_ranks() -> int:
    """How many processes share the work now; 1 within `alone`."""
    return 1 if _Here.n_alone or not dist.is_initialized() else dist.get_world_size()


def rank() -> int:
    """This process's number among those that share the work."""
    return dist.get_rank() if n_ranks() > 1 else 0


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return int(os.environ.get("RANK") or 0) == 0 or launched() == 1


@contextmanager
def alone() -> Iterator[None]:
    """Within, this process works by itself and waits for no other."""
    _Here.n_alone += 1
    try:
        yield
    finally:
        _Here.n_alone -= 1


def wait() -> None:
    """Returns when every rank has come here."""
    if n_ranks() > 1:
        dist.barrier(_Here.group)


def agreed(value: int) -> int:
    """The first rank's value, on every rank."""
    if n_ranks() == 1:
        return value
    told = torch.tensor(value)
    dist.broadcast(told, 0, group=_Here.group)
    return int(told)


def by_turns(function: Callable[P, T]) -> Callable[P, T]:
    """A function that computes something once and keeps it in a file: the first rank calls it before all others do."""

    @functools.wraps(function)
    def turn(*args: P.args, **kwargs: P.kwargs) -> T:
        if not is_first():
            wait()
        with alone():
            made = function(*args, **kwargs)
        if is_first():
            wait()
        return made

    return turn


def same_everywhere(module: nn.Module) -> None:
    """Gives every rank the first one's trainable parameters and buffers."""
    if n_ranks() > 1:
        trained = [p.detach() for p in module.parameters() if p.requires_grad]
        for tensor in [*trained, *module.buffers()]:
            dist.broadcast(tensor, 0, group=_Here.group)


def own(rows: Any) -> Any:
    """This rank's part of a batch: a tensor, an array or a list, cut into neighbouring rows as evenly as it can be.

    Raises `ConfigError` for fewer rows than ranks.
    """
    n, total = n_ranks(), len(rows)
    if n == 1:
        return rows
    if total < n:
        raise ConfigError(f"expected a batch of at least {n} rows for {n} processes, got {total}")
    return rows[total * rank() // n : total * (rank() + 1) // n]


def shared(function: Callable[..., T], *batched: Any) -> T:
    """`function(*batched)`, each rank computing its own rows; the rows of all come back, with gradient.

    What comes back is a tensor with a row for each of the arguments', or a tuple or mapping of such; None stays None.
    """
    if n_ranks() == 1:
        return function(*batched)
    return _every_rows(function(*(own(rows) for rows in batched)))


def _every_rows(made: Any) -> Any:
    if made is None:
        return None
    if isinstance(made, Mapping):
        return {name: _every_rows(value) for name, value in made.items()}
    if isinstance(made, tuple):
        return tuple(_every_rows(value) for value in made)
    return every_rows(made)


def every_rows(rows: Tensor) -> Tensor:
    """The rows of all ranks in their order, [n_all, ...] from [n, ...]; n may differ between ranks."""
    if n_ranks() == 1:
        return rows
    told = torch.tensor([len(rows), int(rows.requires_grad and torch.is_grad_enabled())])
    all_told = [torch.empty_like(told) for _ in range(n_ranks())]
    dist.all_gather(all_told, told, group=_Here.group)
    counts = [int(of_rank[0]) for of_rank in all_told]
    if any(bool(of_rank[1]) for of_rank in all_told) and not rows.requires_grad:
        rows = rows.detach().requires_grad_()  # its backward pass is waited for by the ranks that have one
    return _EveryRows.apply(rows, counts)  # type: ignore[no-any-return]


class _EveryRows(torch.autograd.Function):
    """Rows gathered; its adjoint sums what all ranks' losses say of a rank's rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts, ctx.dtype = counts, rows.dtype
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=_Here.group)
        return torch.cat([part[:n] for part, n in zip(parts, counts)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].float().contiguous().clone()
        dist.all_reduce(total, group=_Here.group)
        start = sum(ctx.counts[: rank()])
        return total[start : start + ctx.counts[rank()]].to(ctx.dtype), None


def over_ranks(mean: Tensor, count: int) -> Tensor:
    """The mean over all ranks' values, from this rank's `mean` over `count` of them (tokens, pairs, pixels).

    A rank without any (`count` 0, `mean` anything) adds nothing; 0 where no rank has one.
    """
    if n_ranks() == 1:
        return mean
    part = mean.float() * count if count else torch.zeros((), device=mean.device)
    total = every_rows(part.reshape(1)).sum()
    return total / max(1, sum(int(n) for n in every_rows(torch.tensor([count]))))
