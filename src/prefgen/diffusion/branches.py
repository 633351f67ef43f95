"""Who is heard in which call of the network: guidance has branches, and each family of networks runs them its own way.

Stable Diffusion 1.5, XL and 3 run the unconditional and the conditional branch in one call a step. FLUX knows two
guidances: a distilled one, a number that the network is told, in one branch; and, where `true_cfg_scale` > 1 and there
is a negative prompt, classifier-free guidance in two calls a step, the conditional one first. Likes speak in the
conditional branch and dislikes in the unconditional one in every family (`docs/backbones.md`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prefgen.adapter import UserAdapter, UserTokens, concatenate_users
from prefgen.core import InputError
from prefgen.diffusion.guidance import n_rows_of, rows_rewritten

if TYPE_CHECKING:
    from jaxtyping import Float

    Strength = float | Float[Tensor, " batch"]

_log = logging.getLogger("prefgen")


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """One call of the network: `tokens` of its last rows, and how many rows lead them and hear nobody. `n_rows` are
    those the pipeline hands over; with `separate` the text branch is run twice."""

    tokens: UserTokens
    n_plain_rows: int
    n_rows: int
    separate: bool

    def is_plain(self, adapter: UserAdapter) -> bool:
        """Whether this call is left to the pipeline as it is."""
        return adapter.silent or not self.separate


def is_flux(network: nn.Module) -> bool:
    """Whether guidance takes two calls a step, if there is any."""
    return type(network).__name__.startswith("Flux")


def text_guidance(
    network: nn.Module,
    guidance_scale: float,
    negative_prompt: str | Sequence[str] | None,
    pipeline_arguments: Mapping[str, Any],
) -> float | None:
    """The scale of classifier-free guidance that the pipeline will use; None where there is none."""
    if is_flux(network):
        scale = float(pipeline_arguments.get("true_cfg_scale", 1.0))
        negative = negative_prompt is not None or pipeline_arguments.get("negative_prompt_embeds") is not None
        return scale if scale > 1 and negative else None
    told_of_guidance = getattr(network.config, "time_cond_proj_dim", None) is not None
    return guidance_scale if guidance_scale > 1 and not told_of_guidance else None


def turns_of(
    network: nn.Module, tokens: UserTokens, unconditional: UserTokens | None, *, guided: bool, separate: bool
) -> list[Turn]:
    """The calls of one step, or, for Stable Diffusion 3, the calls there may be, told apart by their rows.

    With skip-layer guidance (`skip_guidance_layers`) Stable Diffusion 3 calls its network once more a step, for the
    conditional branch alone; the person is heard there as in that branch.
    """
    n = len(tokens)
    if unconditional is not None and len(unconditional) != n:
        raise InputError(f"expected {n} rows of unconditional user tokens, got {len(unconditional)}")
    alone = Turn(tokens=tokens, n_plain_rows=n * separate, n_rows=n, separate=separate)
    if is_flux(network):
        _warn_of_silent(unconditional, guided)
        against = Turn(tokens=unconditional or tokens.nobody(), n_plain_rows=0, n_rows=n, separate=False)
        return [alone, against] if guided else [alone]
    if not guided:
        return [alone]
    if unconditional is None:
        both = Turn(tokens=tokens, n_plain_rows=n * (1 + separate), n_rows=2 * n, separate=separate)
    else:
        text_alone = [tokens.nobody()] if separate else []
        rows = concatenate_users([unconditional, *text_alone, tokens])
        both = Turn(tokens=rows, n_plain_rows=0, n_rows=2 * n, separate=separate)
    return [both, Turn(tokens=tokens, n_plain_rows=0, n_rows=n, separate=False)]


@contextmanager
def heard_by_turns(
    adapter: UserAdapter,
    network: nn.Module,
    turns: Sequence[Turn],
    like_strength: Strength,
    dislike_strength: Strength,
) -> Iterator[Callable[[], Turn]]:
    """While open, every call of `network` hears the users of its turn; yields what tells the turn of the call at hand.

    Turns of as many rows take turns; a turn of other rows is known by its rows. A UNet needs its first turn only.
    """
    n = min(turn.n_rows for turn in turns)
    like, dislike = (_checked(strength, n) for strength in (like_strength, dislike_strength))
    states = []
    for turn in turns:
        times = len(turn.tokens) // n
        told = [_on_branches(s, times) for s in (like, dislike)]
        states.append(adapter.state_for(turn.tokens, *told, n_plain_rows=turn.n_plain_rows))
    now = _Now(len(turns))

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        now.next([turn.n_rows == n_rows_of(args, kwargs) for turn in turns])
        adapter.hear(states[now.index])
        return args, kwargs

    with adapter.users(None):
        adapter.hear(states[0])
        with rows_rewritten(network, before, lambda _, __, output: output):
            yield lambda: turns[now.index]


class _Now:
    """Whose turn it is."""

    def __init__(self, n_turns: int) -> None:
        self.n_turns = n_turns
        self.index = n_turns - 1

    def next(self, fits: Sequence[bool]) -> None:
        """The next turn that fits; the next one in any case where none does, so that the adapter tells the mistake."""
        order = [(self.index + k) % self.n_turns for k in range(1, self.n_turns + 1)]
        self.index = next((index for index in order if fits[index]), order[0])


def _checked(strength: Strength, n_pictures: int) -> Strength:
    if isinstance(strength, Tensor) and strength.ndim > 0 and len(strength) != n_pictures:
        raise InputError(f"expected a strength for each of {n_pictures} pictures, got {len(strength)}")
    return strength


def _on_branches(strength: Strength, times: int) -> Strength:
    """A strength for each picture, told again for each branch that hears somebody."""
    return strength.repeat(times) if isinstance(strength, Tensor) and strength.ndim > 0 else strength


def _warn_of_silent(unconditional: UserTokens | None, guided: bool) -> None:
    dislikes = None if unconditional is None else unconditional.dislike
    if dislikes is not None and not guided and bool(torch.any(dislikes != 0)):
        _log.warning(
            "dislikes are not heard: this pipeline has no unconditional branch now; "
            'give true_cfg_scale above 1 and negative_prompt="", or dislikes="beside" with a dislike_strength below 0'
        )
