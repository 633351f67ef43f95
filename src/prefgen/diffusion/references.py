"""Attention to reference pictures without training: their self-attention states, read while another picture is made.

`weighted_attention` is FABRIC's (arXiv 2307.10159): liked references beside the conditional branch, disliked ones
beside the unconditional branch, each reference's attention weighted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from prefgen.diffusion.word_steering import text_states

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Read = Callable[[Any, Tensor, Tensor], Tensor]
"""`read(attn, states, references)`: a self-attention layer's output [rows, length, d] for `states` [rows, length, d],
given the references' states [n_pictures, n_references, length, d] at the same layer and time."""


@torch.no_grad()
def reference_latents(pipe: Any, pictures: Sequence[Image.Image]) -> Float[Tensor, "n channels h w"]:
    """Pictures in the generator's own latent units, cut to its square side.

    An autoencoder that overflows in half precision (SDXL's `force_upcast`) encodes in float32, as in diffusers.
    """
    vae, side = pipe.vae, pipe.vae_scale_factor * pipe.unet.config.sample_size
    pixels = [np.asarray(ImageOps.fit(p.convert("RGB"), (side, side), Image.Resampling.LANCZOS)) for p in pictures]
    kept = vae.dtype
    upcast = kept == torch.float16 and bool(getattr(vae.config, "force_upcast", False))
    x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    x = x.to(pipe._execution_device, torch.float32 if upcast else kept) / 127.5 - 1
    try:
        if upcast:
            vae.to(torch.float32)
        return (vae.encode(x).latent_dist.mean * vae.config.scaling_factor).to(kept)
    finally:
        if upcast:
            vae.to(kept)


def padded_references(
    pipe: Any, shelves: Sequence[Sequence[Image.Image]]
) -> tuple[Float[Tensor, "n_people n_most channels h w"], Bool[Tensor, "n_people n_most"]]:
    """Latents of each one's pictures, and which exist."""
    n_most = max(1, max(map(len, shelves)))
    blank = Image.new("RGB", (8, 8), "grey")
    flat = [one for shelf in shelves for one in [*shelf, *[blank] * (n_most - len(shelf))]]
    there = torch.tensor([[k < len(shelf) for k in range(n_most)] for shelf in shelves])
    return reference_latents(pipe, flat).unflatten(0, (len(shelves), n_most)), there


class _Memory:
    """What the layers wrote while the references ran."""

    def __init__(self, n_pictures: int) -> None:
        self.n_pictures, self.writing = n_pictures, False
        self.kept: dict[str, Tensor] = {}


class _ReferenceProcessor:
    """A self-attention processor that writes its input while references run and else lets `read` answer."""

    def __init__(self, layer: str, memory: _Memory, read: Read, original: Any) -> None:
        self.layer, self.memory, self.read, self.original = layer, memory, read, original

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.memory.writing:
            self.memory.kept[self.layer] = hidden_states.unflatten(0, (self.memory.n_pictures, -1))
            return self.original(attn, hidden_states, *args, **kwargs)
        return self.read(attn, hidden_states, self.memory.kept[self.layer])


@contextmanager
def attending(
    pipe: Any, latents: Float[Tensor, "n_pictures n_references channels h w"], read: Read, *, seed: int = 0
) -> Iterator[None]:
    """While open, every self-attention of the pipeline's network answers by `read`.

    At each step the references `latents` are noised to the step's time, each with its own fixed noise, and run once
    through the network without a prompt.
    """
    unet, memory = pipe.unet, _Memory(len(latents))
    flat = latents.flatten(0, 1)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape[1:], generator=generator).to(flat).repeat(len(latents), 1, 1, 1)
    nothing, _ = text_states(pipe, [""])

    def run_references(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        time = args[1]
        noisy = pipe.scheduler.add_noise(flat, noise, time.reshape(1).repeat(len(flat)))
        noisy = pipe.scheduler.scale_model_input(noisy, time)
        told: dict[str, Any] = {"encoder_hidden_states": nothing.states.expand(len(flat), -1, -1)}
        if conditions := kwargs.get("added_cond_kwargs"):
            told["added_cond_kwargs"] = _conditions(conditions, nothing.pooled, len(flat))
        memory.writing = True
        try:
            unet.forward(noisy.to(flat), time, **told)
        finally:
            memory.writing = False

    before = unet.attn_processors
    unet.set_attn_processor(
        {
            name: _ReferenceProcessor(name, memory, read, original) if "attn1" in name else original
            for name, original in before.items()
        }
    )
    hook = unet.register_forward_pre_hook(run_references, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
        unet.set_attn_processor(before)


def heads_of(attn: Any, states: Tensor) -> Tensor:
    """[rows, length, width] to [rows, heads, length, width per head]."""
    return states.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def attended(attn: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention of split heads, joined and sent through the layer's output."""
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))


def weighted_attention(
    attn: Any,
    states: Float[Tensor, "n length d"],
    references: Float[Tensor, "n k other d"],
    weights: Float[Tensor, "n k"],
) -> Float[Tensor, "n length d"]:
    """Self-attention of `states` that also sees `references`: a reference's attention is multiplied by its weight
    before all of it is made to sum to one. States and references may differ in length (a picture of another size)."""
    seen = torch.cat([states, references.flatten(1, 2).to(states)], 1)
    heard = weights.to(states.device).log().repeat_interleave(references.shape[2], 1)
    bias = torch.cat([torch.zeros(len(states), states.shape[1], device=states.device), heard], 1).to(states)
    query, key, value = (heads_of(attn, f(x)) for f, x in ((attn.to_q, states), (attn.to_k, seen), (attn.to_v, seen)))
    return attended(attn, query, key, value, bias[:, None, None, :])


def liked_and_disliked(
    like_weights: Float[Tensor, "n k_liked"], dislike_weights: Float[Tensor, "n k_disliked"], *, guided: bool = True
) -> Read:
    """FABRIC's reading of references `[liked; disliked]`: conditional rows hear the liked ones, unconditional rows the
    disliked ones; without guidance all rows are conditional. Weights and references have a row for each picture, or one
    for all."""
    n_liked = like_weights.shape[1]

    def heard(attn: Any, states: Tensor, references: Tensor, weights: Tensor) -> Tensor:
        n = len(states)
        return weighted_attention(attn, states, references.expand(n, -1, -1, -1), weights.expand(n, -1))

    def read(attn: Any, states: Tensor, references: Tensor) -> Tensor:
        *nothing, text = states.chunk(2) if guided else (states,)
        disliked = [heard(attn, rows, references[:, n_liked:], dislike_weights) for rows in nothing]
        return torch.cat([*disliked, heard(attn, text, references[:, :n_liked], like_weights)])

    return read


def _conditions(conditions: dict[str, Any], pooled: Tensor | None, n: int) -> dict[str, Any]:
    """SDXL's extra conditions for n references: the empty text's pooled states, the picture's own sizes."""
    told: dict[str, Any] = {}
    if (given := conditions.get("text_embeds")) is not None and pooled is not None:
        told["text_embeds"] = pooled.to(given).expand(n, -1)
    if (sizes := conditions.get("time_ids")) is not None:
        told["time_ids"] = sizes[-1:].expand(n, -1)
    return told
