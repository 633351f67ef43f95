"""Kernels by name, for distances between distributions that others have fixed and that must stay comparable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefgen.alignment._clouds import check_clouds, widen
from prefgen.alignment.mmd import _kernel, _squared_distances

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def polynomial_kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """`(x·y / d + 1)³`, the kernel of KID (Binkowski et al., arXiv 1801.01401, section 4).

    >>> import torch
    >>> polynomial_kernel(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    tensor([[8., 1.]])
    """
    check_clouds(x, y)
    x, y = widen(x, y)
    return (x @ y.T / x.shape[1] + 1) ** 3


def gaussian_kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], bandwidth: float) -> Float[Tensor, "n m"]:
    """`exp(-‖x - y‖² / (2·bandwidth²))`.

    >>> import torch
    >>> gaussian_kernel(torch.tensor([[0.0]]), torch.tensor([[0.0], [2.0]]), 2.0)
    tensor([[1.0000, 0.6065]])
    """
    check_clouds(x, y)
    x, y = widen(x, y)
    return _kernel(_squared_distances(x, y), x.new_tensor([bandwidth]))
