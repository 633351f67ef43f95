"""The rivals' weights: a projector from one CLIP embedding to tokens, and an adapter that hears them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from prefgen.adapter import UserAdapter, UserTokens, load_adapter
from prefgen.alignment import Projector
from prefgen.core import ModelError

Pool = Literal["mean", "first"]


@dataclass(frozen=True, kw_only=True, eq=False)
class BaselineAdapter:
    """An IP-Adapter of ours: `pool` says whether several liked pictures are averaged or the first one is taken."""

    projector: Projector
    adapter: UserAdapter
    pool: Pool = "mean"

    @classmethod
    def load(cls, folder: Path | str, unet: Any) -> BaselineAdapter:
        """Reads `config.json`, `projector.safetensors` and the adapter's files for `unet`.

        `config.json` holds `d_clip`, `d_cross`, `n_tokens`, and may hold `hidden` and `pool`. Raises `ModelError`.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text())
            projector = Projector(config["d_clip"], config["d_cross"], config["n_tokens"], config.get("hidden"))
            state = load_file(folder / "projector.safetensors")
            projector.load_state_dict({name: value.float() for name, value in state.items()})
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"expected a baseline's weights in {folder}, got {error!r}") from error
        pool = config.get("pool", "mean")
        if pool not in ("mean", "first"):
            raise ModelError(f"expected pool 'mean' or 'first' in {folder / 'config.json'}, got {pool!r}")
        adapter = load_adapter(folder, unet)
        if "like" not in adapter.groups:
            raise ModelError(f"expected an adapter with a like group in {folder}, got {adapter.groups}")
        return cls(projector=projector.eval(), adapter=adapter.eval(), pool=pool)

    @torch.no_grad()
    def tokens(self, embeddings: Tensor) -> UserTokens:
        """One row of tokens from the CLIP embeddings [n, d_clip] of one person's liked pictures."""
        pooled = embeddings[:1] if self.pool == "first" else embeddings.mean(0, keepdim=True)
        return UserTokens(like=self.projector(pooled.float()))
