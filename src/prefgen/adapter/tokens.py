"""What a generator hears of a person: two groups of cross-attention tokens, one for likes and one for dislikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from prefgen.core import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

Group = Literal["like", "dislike"]
GROUPS: tuple[Group, ...] = ("like", "dislike")


@dataclass(frozen=True, kw_only=True, eq=False)
class UserTokens:
    """The user tokens of a batch of pictures, one row a picture.

    A group that nobody in the batch has is None. **A row of zeros is nobody**: the adapter leaves such a row exactly
    as the plain model makes it. That is also what a stock IP-Adapter does with zero tokens (its values have no bias),
    so one convention serves both.
    """

    like: Float[Tensor, "batch n_tokens d_cross"] | None = None
    dislike: Float[Tensor, "batch n_tokens d_cross"] | None = None

    def __post_init__(self) -> None:
        for name in GROUPS:
            tokens = self.group(name)
            if tokens is not None and tokens.ndim != 3:
                raise InputError(f"expected {name} tokens [batch, n_tokens, d_cross], got {list(tokens.shape)}")
        if self.like is not None and self.dislike is not None and len(self.like) != len(self.dislike):
            raise InputError(
                f"expected as many rows of likes as of dislikes, got {len(self.like)}, {len(self.dislike)}"
            )

    def __len__(self) -> int:
        """How many pictures these tokens are for (0 if both groups are None)."""
        return max((len(tokens) for tokens in (self.like, self.dislike) if tokens is not None), default=0)

    def group(self, name: Group) -> Float[Tensor, "batch n_tokens d_cross"] | None:
        """The tokens of one group."""
        return self.like if name == "like" else self.dislike

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> UserTokens:
        """The same tokens on another device or in another dtype."""
        like, dislike = (None if t is None else t.to(device=device, dtype=dtype) for t in (self.like, self.dislike))
        return UserTokens(like=like, dislike=dislike)

    def row(self, place: int) -> UserTokens:
        """One row alone."""
        like, dislike = (None if t is None else t[place : place + 1] for t in (self.like, self.dislike))
        return UserTokens(like=like, dislike=dislike)

    def repeat(self, n_images: int) -> UserTokens:
        """Each row `n_images` times in a row: the order of a pipeline's `num_images_per_prompt`."""
        like, dislike = (None if t is None else t.repeat_interleave(n_images, dim=0) for t in (self.like, self.dislike))
        return UserTokens(like=like, dislike=dislike)

    def nobody(self, n_rows: int | None = None) -> UserTokens:
        """Rows of zeros with this record's shapes; as many as this record has, unless told otherwise."""
        n = len(self) if n_rows is None else n_rows
        like, dislike = (None if t is None else t.new_zeros(n, *t.shape[1:]) for t in (self.like, self.dislike))
        return UserTokens(like=like, dislike=dislike)


def concatenate_users(parts: Sequence[UserTokens | None]) -> UserTokens:
    """Joins rows of several records into one batch.

    A part of None is one row of nobody; a group that some part lacks is filled with nobody there.
    """
    return UserTokens(like=_concatenate_group(parts, "like"), dislike=_concatenate_group(parts, "dislike"))


def with_unconditional(tokens: UserTokens, unconditional: UserTokens | None = None) -> UserTokens:
    """Lays tokens out for classifier-free guidance, where the model's batch is `[unconditional; conditional]`.

    The unconditional half hears nobody unless `unconditional` (as many rows as `tokens`) says what it hears. Where it
    hears nobody, `UserAdapter.users(tokens, n_plain_rows=len(tokens))` gives the same output for less work.
    """
    if unconditional is not None and len(unconditional) != len(tokens):
        raise InputError(f"expected {len(tokens)} rows of unconditional user tokens, got {len(unconditional)}")
    return concatenate_users([tokens.nobody() if unconditional is None else unconditional, tokens])


def _concatenate_group(parts: Sequence[UserTokens | None], name: Group) -> Tensor | None:
    given = [tokens for part in parts if part is not None and (tokens := part.group(name)) is not None]
    if not given:
        return None
    rows: list[Tensor] = []
    for part in parts:
        tokens = None if part is None else part.group(name)
        n_rows = 1 if part is None else len(part)
        rows.append(given[0].new_zeros(n_rows, *given[0].shape[1:]) if tokens is None else tokens)
    return torch.cat(rows)
