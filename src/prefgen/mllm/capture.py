"""Hidden states of chosen layers by hooks: nothing else is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from prefgen.core import ModelError


def language_model(model: Any) -> Any:
    """The decoder inside any family's model: it has `layers` and a final `norm`."""
    inner = getattr(model, "model", model)
    found = getattr(inner, "text_model", None) or getattr(inner, "language_model", None)
    if found is None:
        raise ModelError(
            f"expected a vision-language model with a text_model or language_model, got {type(model).__name__}"
        )
    return found


@contextmanager
def captured_layers(
    model: Any, states: Sequence[int], pool: Callable[[Tensor], Tensor] = lambda state: state
) -> Iterator[dict[int, Tensor]]:
    """Fills a dictionary {state: pool(hidden state [b, s, d])} during the next forward pass.

    States are numbered as in transformers' `hidden_states`: 0 is the embeddings, k the output of layer k, and the
    last one stands after the final norm.
    """
    decoder = language_model(model)
    n_layers = len(decoder.layers)
    taken: dict[int, Tensor] = {}
    hooks = []
    for state in states:
        if not 0 <= state <= n_layers:
            raise ModelError(f"expected a hidden state between 0 and {n_layers}, got {state}")
        hooks.append(_hook(decoder, state, n_layers, lambda value, k=state: taken.__setitem__(k, pool(value))))
    try:
        yield taken
    finally:
        for hook in hooks:
            hook.remove()


def _hook(decoder: Any, state: int, n_layers: int, keep: Callable[[Tensor], None]) -> Any:
    def after(_: Any, __: Any, output: Any) -> None:
        keep(output[0] if isinstance(output, tuple) else output)

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(args[0] if args else kwargs["hidden_states"])

    if state == 0:
        return decoder.layers[0].register_forward_pre_hook(before, with_kwargs=True)
    return (decoder.norm if state == n_layers else decoder.layers[state - 1]).register_forward_hook(after)
