"""What every alignment loss asks of its two clouds of points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from prefgen.core import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def check_clouds(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, n_least: int = 1, paired: bool = False) -> None:
    """Raises `InputError` unless x and y are two matrices of one width, long enough, and row by row if `paired`."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InputError(
            f"expected two clouds [n, d] and [m, d] of one width, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if min(len(x), len(y)) < n_least:
        raise InputError(
            f"expected at least {n_least} points in each cloud, got {len(x)} and {len(y)}",
            hint="use a larger batch: a distribution cannot be seen from so few points",
        )
    if paired and len(x) != len(y):
        raise InputError(f"expected as many points as targets, row by row, got {len(x)} and {len(y)}")


def widen(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Both clouds in one dtype of at least float32: half precision is too coarse for differences of distances."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return x.to(dtype), y.to(dtype)
