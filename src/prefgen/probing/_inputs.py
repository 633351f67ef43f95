"""What both probes ask of the arrays they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prefgen.core import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def check_hidden(hidden: Float[np.ndarray, "layers rows d"], **names: Sequence[Any] | np.ndarray) -> None:
    """Raises `InputError` unless `hidden` is finite, of three axes, and every named array has one value a row."""
    if hidden.ndim != 3 or 0 in hidden.shape:
        raise InputError(f"expected hidden states [layers, rows, d], got shape {hidden.shape}")
    for name, values in names.items():
        if len(values) != hidden.shape[1]:
            raise InputError(f"expected one entry of {name} for each of {hidden.shape[1]} rows, got {len(values)}")
    if not np.isfinite(hidden).all():
        layers = sorted({int(layer) for layer in np.argwhere(~np.isfinite(hidden))[:, 0]})
        raise InputError(
            f"expected finite hidden states, got NaN or infinity in layers {layers}",
            hint="half precision overflows in some models: capture in bfloat16 or float32",
        )


def numbered(names: Sequence[Any] | np.ndarray) -> tuple[list[Any], Int[np.ndarray, " rows"]]:
    """The distinct names in sorted order, and for each row the number of its own."""
    distinct, numbers = np.unique(np.asarray(names), return_inverse=True)
    return distinct.tolist(), numbers.reshape(-1)


def dealt_folds(n: int, n_folds: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """A random fold for each of n things, all folds of equal size to within one."""
    return rng.permutation(np.arange(n) % n_folds)
