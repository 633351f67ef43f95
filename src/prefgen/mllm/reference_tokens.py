"""Learned reference tokens: what a language model's final layer gathers from the pictures it was shown (EasyRef).

After EasyRef (arXiv 2412.09618), whose first stage trains the final layer, the projection and the adapter: learned
tokens join the sequence before the final layer, in which everything sees everything; what that layer makes of the
tokens is projected to the width of the generator's cross-attention. All layers below run once for a set of pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prefgen.core import ModelError
from prefgen.mllm.capture import captured_layers, language_model
from prefgen.mllm.packing import Pack
from prefgen.mllm.port import PreferenceMLLM
from prefgen.mllm.reading import run_packed
from prefgen.mllm.wording import Told, history_parts


@dataclass(frozen=True, kw_only=True)
class ReferenceStates:
    """What the final layer is handed of some sets of pictures.

    `states` float [batch, s, d]; `ends` int64 [batch, n_pictures]: how many states lead up to the end of each picture,
    0 for padding. The model is causal, so the states before `ends[r, k]` are those of the first k + 1 pictures alone.
    """

    states: Tensor
    ends: Tensor


@torch.no_grad()
def reference_states(mllm: PreferenceMLLM, pictures: Sequence[Sequence[Any]]) -> ReferenceStates:
    """The states of sets of liked pictures, told as a history without dislikes; each set needs one picture or more."""
    told = [[Told(picture=picture, side="like") for picture in shown] for shown in pictures]
    batch, features = mllm.batch([Pack(history=history_parts(items), branches=()) for items in told])
    with captured_layers(mllm.model, [mllm.n_states - 2]) as taken:
        run_packed(mllm.model, batch, features)
    ends = torch.zeros(len(told), max(map(len, told)), dtype=torch.long)
    for row, items in enumerate(told):
        places = (batch.input_ids[row] == mllm.image_token).nonzero()[:, 0].cpu()
        last = torch.tensor([n for n, owner in zip(batch.n_tokens, batch.owners) if owner == row]).cumsum(0) - 1
        ends[row, : len(items)] = places[last] + 1
    states = taken[mllm.n_states - 2].float().cpu()
    return ReferenceStates(states=states[:, : int(ends.max())], ends=ends)


class ReferenceReader(nn.Module):
    """Learned tokens, a final layer of their own that starts as the language model's, and the projection."""

    def __init__(self, mllm: PreferenceMLLM, n_tokens: int, d_cross: int) -> None:
        super().__init__()
        decoder = language_model(mllm.model)
        if mllm.family.positions == "grid":
            raise ModelError(f"expected a model with one position per token, got {mllm.family.model_type}")
        try:
            self.layer = deepcopy(decoder.layers[-1]).requires_grad_(True)
            self.norm = deepcopy(decoder.norm).requires_grad_(True)
            self.rotary = deepcopy(decoder.rotary_emb)
        except AttributeError as error:
            raise ModelError(f"expected a decoder of layers, norm and rotary_emb, got {error}") from error
        self.tokens = nn.Parameter(torch.randn(n_tokens, mllm.width))
        self.projection, self.norm_out = nn.Linear(mllm.width, d_cross), nn.LayerNorm(d_cross)

    def forward(self, states: Tensor, n_states: Tensor) -> Tensor:
        """Tokens [batch, n_tokens, d_cross] from states [batch, s, d], of which the first `n_states` [batch] count."""
        n_rows, length = states.shape[:2]
        n_tokens = len(self.tokens)
        places = torch.arange(length, device=states.device).expand(n_rows, -1)
        after = n_states[:, None] + torch.arange(n_tokens, device=states.device)
        there = torch.cat([places < n_states[:, None], torch.ones_like(after, dtype=torch.bool)], 1)
        x = torch.cat([states, self.tokens.to(states).expand(n_rows, -1, -1)], 1)
        positions = torch.cat([places, after], 1)
        seen = there[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        rotated = self.rotary(x, position_ids=positions)
        out = self.layer(x, attention_mask=seen, position_ids=positions, position_embeddings=rotated)
        out = out[0] if isinstance(out, tuple) else out
        return self.norm_out(self.projection(self.norm(out[:, length:])))

    def save(self, folder: Path) -> None:
        """Writes `config.json` and `reader.safetensors`, in float16."""
        folder.mkdir(parents=True, exist_ok=True)
        (n_tokens, width), (d_cross,) = self.tokens.shape, self.norm_out.weight.shape
        config = {"n_tokens": n_tokens, "width": width, "d_cross": d_cross}
        save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, folder / "reader.safetensors")
        (folder / "config.json").write_text(json.dumps(config) + "\n")

    @classmethod
    def load(cls, folder: Path, mllm: PreferenceMLLM) -> ReferenceReader:
        """The inverse of `save`, for the language model it was trained on. Raises `ModelError` where they differ."""
        try:
            config = json.loads((folder / "config.json").read_text())
            if config["width"] != mllm.width:
                raise ValueError(f"states of width {config['width']} for a language model of width {mllm.width}")
            reader = cls(mllm, config["n_tokens"], config["d_cross"])
            reader.load_state_dict({k: v.float() for k, v in load_file(folder / "reader.safetensors").items()})
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"expected reference tokens in {folder}, got {error}") from error
        return reader.eval().requires_grad_(False)
