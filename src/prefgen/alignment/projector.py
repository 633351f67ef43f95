"""The small MLP that turns a user embedding into tokens beside the text tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from prefgen.core import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Projector(nn.Module):
    """User embedding `[batch, d_in]` to user tokens `[batch, n_tokens, d_out]`: Linear, GELU, Linear, LayerNorm.

    Widths: `d_in` of the embedding, `d_out` of the network's cross-attention, `hidden` between (default `d_in`).
    The "small MLP" of PrefGen (arXiv 2512.06020), its form *ours*: the state dict (`proj.0`, `proj.2`, `norm`) is the
    `image_proj` of a stock IP-Adapter FaceID file, so it leaves for `pipe.load_ip_adapter` as it is. The stock loader
    reads the hidden width as a multiple of the input's, therefore `hidden` must be one; else `ConfigError`.

    >>> import torch
    >>> Projector(d_in=8, d_out=16, n_tokens=4)(torch.zeros(2, 8)).shape
    torch.Size([2, 4, 16])
    """

    def __init__(self, d_in: int, d_out: int, n_tokens: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = d_in if hidden is None else hidden
        if min(d_in, d_out, n_tokens, hidden) < 1:
            raise ConfigError(f"expected widths and n_tokens above 0, got {d_in=}, {d_out=}, {n_tokens=}, {hidden=}")
        if hidden % d_in:
            raise ConfigError(
                f"expected a hidden width that is a multiple of d_in={d_in}, got {hidden}",
                hint=f"use hidden={max(1, round(hidden / d_in)) * d_in}: the stock IP-Adapter file knows no other",
            )
        self.n_tokens = n_tokens
        self.d_out = d_out
        self.proj = nn.Sequential(nn.Linear(d_in, hidden), nn.GELU(), nn.Linear(hidden, n_tokens * d_out))
        self.norm = nn.LayerNorm(d_out)

    def forward(self, embedding: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_tokens d_out"]:
        """Tokens of zero mean and unit variance each (before the norm's learned gain and shift)."""
        return self.norm(self.proj(embedding).reshape(-1, self.n_tokens, self.d_out))
