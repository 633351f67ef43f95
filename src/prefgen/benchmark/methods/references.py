"""Attention to reference pictures without training: their self-attention states, read while another picture is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from prefgen.benchmark.chain import Chain

Read = Callable[[Any, Tensor, Tensor], Tensor]
"""`read(attn, states, references)`: a self-attention layer's output [rows, length, d] for `states` [rows, length, d],
given the references' states [n_pictures, n_references, length, d] at the same layer and time."""


@torch.no_grad()
def reference_latents(chain: Chain, pictures: Sequence[Image.Image]) -> Tensor:
    """[n, channels, h, w]: pictures in the generator's own latent units."""
    vae, side = chain.pipe.vae, chain.pipe.vae_scale_factor * chain.pipe.unet.config.sample_size
    pixels = [np.asarray(p.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)) for p in pictures]
    x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).to(next(vae.parameters())) / 127.5 - 1
    return vae.encode(x).latent_dist.mean * vae.config.scaling_factor


def padded_references(chain: Chain, shelves: Sequence[Sequence[Image.Image]]) -> tuple[Tensor, Tensor]:
    """Latents [n_people, n_most, channels, h, w] of each one's pictures, and which exist, bool [n_people, n_most]."""
    n_most = max(1, max(map(len, shelves)))
    blank = Image.new("RGB", (8, 8), "grey")
    flat = [one for shelf in shelves for one in [*shelf, *[blank] * (n_most - len(shelf))]]
    there = torch.tensor([[k < len(shelf) for k in range(n_most)] for shelf in shelves])
    return reference_latents(chain, flat).unflatten(0, (len(shelves), n_most)), there


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
def attending(pipe: Any, latents: Tensor, read: Read, *, seed: int = 0) -> Iterator[None]:
    """While open, every self-attention of the pipeline's network answers by `read`.

    At each step the references `latents` [n_pictures, n_references, channels, h, w] are noised to the step's time, each
    with its own fixed noise, and run once through the network without a prompt.
    """
    unet, memory = pipe.unet, _Memory(len(latents))
    flat = latents.flatten(0, 1)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape[1:], generator=generator).to(flat).repeat(len(latents), 1, 1, 1)
    nothing, _ = pipe.encode_prompt("", pipe.device, 1, False)

    def run_references(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        time = args[1]
        noisy = pipe.scheduler.add_noise(flat, noise, time.reshape(1).repeat(len(flat)))
        memory.writing = True
        try:
            unet.forward(noisy, time, encoder_hidden_states=nothing.expand(len(flat), -1, -1))
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
