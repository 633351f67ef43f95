"""Words of a taste steer a plain network through its text states and further predictions (ViPer, arXiv 2407.17365).

With E the text states, VP₊ and VP₋ the liked and disliked words, s the guidance scale and d the degree, ViPer paints by
`p = E(prompt) + d·E(VP₊)` and `ε = ε_∅ + s·(ε_p + d·ε_VP₊ - ε_∅ - d·ε_VP₋)`. Here each side has a degree of its own;
what one side has more than the other is counted from ε_∅ (*ours*), so that predictions still add up to one picture,
and a side without words is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prefgen.diffusion.guidance import rows_rewritten

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, kw_only=True, eq=False)
class TextStates:
    """What a pipeline's text encoders hand its network for n texts; `pooled` only where the network asks for it
    (SDXL)."""

    states: Float[Tensor, "n length d_cross"]
    pooled: Float[Tensor, "n d_pooled"] | None = None

    def __len__(self) -> int:
        return len(self.states)

    def plus(self, degree: float, other: TextStates) -> TextStates:
        """`self + degree·other`, the pooled states alike (*ours*)."""
        pooled = self.pooled if self.pooled is None or other.pooled is None else self.pooled + degree * other.pooled
        return TextStates(states=self.states + degree * other.states, pooled=pooled)

    def repeated(self, n: int) -> TextStates:
        """Every row `n` times, one behind the other."""
        pooled = None if self.pooled is None else self.pooled.repeat_interleave(n, 0)
        return TextStates(states=self.states.repeat_interleave(n, 0), pooled=pooled)


@torch.no_grad()
def text_states(
    pipe: Any, texts: Sequence[str], negative: Sequence[str] | None = None
) -> tuple[TextStates, TextStates]:
    """The states of `texts` and of what guidance moves away from: `negative`, or the pipeline's own nothing (which is
    not the empty text in every SDXL)."""
    told = pipe.encode_prompt(
        prompt=list(texts),
        device=pipe._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=True,
        negative_prompt=None if negative is None else list(negative),
    )
    pooled = told[2:] if len(told) == 4 else (None, None)
    return TextStates(states=told[0], pooled=pooled[0]), TextStates(states=told[1], pooled=pooled[1])


@contextmanager
def steered_by_words(
    unet: nn.Module,
    liked: TextStates | None,
    disliked: TextStates | None,
    like_degree: float,
    dislike_degree: float,
) -> Iterator[None]:
    """While open, a call of the network on `[ε_∅; ε_p]` also predicts `ε_VP₊` and `ε_VP₋` and gives back `[ε_∅; ε_p +
    …]`, from which the pipeline's guidance makes the module's formula.

    A side is a row of states for each of the batch's n pictures, or None. **Cost**: three or four rows a picture and
    step instead of two, in one call.
    """
    sides = [side for side in (liked, disliked) if side is not None]

    def add_rows(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x, *rest = args
        n = len(x) // 2
        states = kwargs["encoder_hidden_states"]
        told: dict[str, Any] = {
            "encoder_hidden_states": torch.cat([states, *(side.states.to(states) for side in sides)])
        }
        if conditions := kwargs.get("added_cond_kwargs"):
            told["added_cond_kwargs"] = _more_conditions(conditions, sides, n)
        return (torch.cat([x, *[x[-n:]] * len(sides)]), *rest), {**kwargs, **told}

    def fold_rows(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        nothing, text, *more = output[0].split(len(output[0]) // (2 + len(sides)))
        plus = nothing if liked is None else more[0]
        minus = nothing if disliked is None else more[-1]
        push = like_degree * (plus - minus) + (like_degree - dislike_degree) * (minus - nothing)
        folded = torch.cat([nothing, text + push])
        return (folded, *output[1:]) if isinstance(output, tuple) else type(output)(sample=folded)

    with rows_rewritten(unet, add_rows, fold_rows):
        yield


def _more_conditions(conditions: dict[str, Any], sides: Sequence[TextStates], n: int) -> dict[str, Any]:
    """SDXL's extra conditions for the further rows: the words' pooled states, the pictures' own sizes."""
    more = dict(conditions)
    if (pooled := conditions.get("text_embeds")) is not None:
        own = [pooled[-n:] if side.pooled is None else side.pooled.to(pooled) for side in sides]
        more["text_embeds"] = torch.cat([pooled, *own])
    if (sizes := conditions.get("time_ids")) is not None:
        more["time_ids"] = torch.cat([sizes, *[sizes[-n:]] * len(sides)])
    return more
