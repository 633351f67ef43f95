"""Guidance of its own for the person, inside a stock pipeline that knows two guidance branches only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_OF_NO_ROW = ("img_ids", "txt_ids")
"""Inputs of FLUX that all rows share, whatever their length."""


@contextmanager
def separate_user_guidance(
    network: nn.Module,
    n_pictures: int,
    user_scale: float,
    text_scale: float,
    is_silent: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """While open, a pipeline's guidance of scale w_text yields, for user_scale w_user and predictions ε,

    `ε = ε_∅ + w_text·(ε_text - ε_∅) + w_user·(ε_text,user - ε_text)`.

    The last `n_pictures` rows of the model's batch (the text branch) are run twice: without the person, then with.
    So the adapter's users must be laid out `[ε_∅; ε_text; ε_text,user]`, or `[ε_text; ε_text,user]` without
    classifier-free guidance. **Cost**: three rows a picture and step instead of two (two instead of one), in one call.
    The pipeline is handed `[ε_∅; ε_text + (w_user/w_text)·(ε_text,user - ε_text)]`, from which its own formula makes
    the above. `network` must return a tuple or an output with `.sample` first. A call for which `is_silent` says so is
    left to the pipeline.
    """
    ratio = user_scale / text_scale

    def add_rows(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if is_silent():
            return args, kwargs
        n_rows = n_rows_of(args, kwargs)
        shared = {name: kwargs[name] for name in _OF_NO_ROW if name in kwargs}
        return _repeat_last(args, n_rows, n_pictures), _repeat_last(kwargs, n_rows, n_pictures) | shared

    def fold_rows(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if is_silent():
            return output
        rows: Tensor = output[0]
        text, user = rows[-2 * n_pictures : -n_pictures], rows[-n_pictures:]
        folded = torch.cat([rows[: -2 * n_pictures], text + ratio * (user - text)])
        return (folded, *output[1:]) if isinstance(output, tuple) else type(output)(sample=folded)

    with rows_rewritten(network, add_rows, fold_rows):
        yield


def n_rows_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """How many rows a call of a UNet (`sample`) or a transformer (`hidden_states`) has."""
    return len(args[0] if args else kwargs["sample" if "sample" in kwargs else "hidden_states"])


@contextmanager
def rows_rewritten(unet: nn.Module, before: Callable[..., Any], after: Callable[..., Any]) -> Iterator[None]:
    """While open, `before(unet, args, kwargs)` gives what every call of `unet` is really made with, and
    `after(unet, args, output)` what it gives back (PyTorch's forward hooks)."""
    handles = [unet.register_forward_pre_hook(before, with_kwargs=True), unet.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _repeat_last(value: Any, n_rows: int, n_last: int) -> Any:
    """Appends a copy of the last `n_last` rows to every tensor of `n_rows` rows in a nest of tuples and dicts."""
    if isinstance(value, Tensor) and value.ndim > 0 and len(value) == n_rows:
        return torch.cat([value, value[-n_last:]])
    if isinstance(value, dict):
        return {name: _repeat_last(item, n_rows, n_last) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_repeat_last(item, n_rows, n_last) for item in value)
    return value
