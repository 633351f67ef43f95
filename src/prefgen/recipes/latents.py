"""Latents of the training pictures, computed once, and the times at which networks meet them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from prefgen.diffusion import sample_times
from prefgen.recipes.autoencoder import as_batch
from prefgen.recipes.context import Context
from prefgen.recipes.precision import fast_autocast
from prefgen.recipes.ranks import by_turns

TIME_MEAN = 0.5
"""Mean of the logit-normal times: a little nearer to noise than even, where it is decided what a picture shows."""

NOISY_SHARE = 0.4
"""Share of an adapter's rows that meet nearly pure noise. The mean colour of 256 latents shines through noise sixteen
times as strong, so what a picture has all over (warmth, contrast) is settled in the first two of twenty steps, at times
above 0.9, of which `TIME_MEAN` alone shows one row in twenty (dev/LOG.md, section 8)."""
NOISY_MEAN = 3.0
"""Mean of the logit-normal times of those rows: half of them lie above 0.95."""

DETAILED_MEAN = -0.5
"""Mean of the logit-normal times at which strokes and textures are settled: two thirds of these lie between 0.18 and
0.62. True latents noised to 0.8 lose most of their hands, those noised to 0.6 fewer (dev/LOG.md, section 14)."""

LATENTS_A_FILE = 10_000


def listening_times(
    n: int, generator: torch.Generator, noisy_share: float = NOISY_SHARE, detailed_share: float = 0.0
) -> Tensor:
    """float32 [n] in (0, 1): the times at which a network learns to listen."""
    kind = torch.rand(n, generator=generator)
    nearer = sample_times(n, generator, mean=NOISY_MEAN)
    times = torch.where(kind < noisy_share, nearer, sample_times(n, generator, mean=TIME_MEAN))
    if not detailed_share:
        return times
    return torch.where(kind >= 1 - detailed_share, sample_times(n, generator, mean=DETAILED_MEAN), times)


@by_turns
@torch.no_grad()
def cached_latents(c: Context, split: str = "train", n_pictures: int | None = None) -> np.ndarray:
    """float16 [n_pictures, channels, h, w]: the pictures' latents, computed once, in files of `LATENTS_A_FILE`."""
    pictures = c.pictures(split)[:n_pictures]
    parts = [pictures[i : i + LATENTS_A_FILE] for i in range(0, len(pictures), LATENTS_A_FILE)]
    return np.concatenate(
        [_latents_file(c, part, c.work / "latents" / f"{split}.{k:03d}.npy") for k, part in enumerate(parts)]
    )


def _latents_file(c: Context, pictures: np.ndarray, path: Path) -> np.ndarray:
    if path.exists() and len(done := np.load(path)) >= len(pictures):
        return done[: len(pictures)]
    path.parent.mkdir(parents=True, exist_ok=True)
    vae: Any = AutoencoderKL.from_pretrained(c.out / "vae").eval()
    rows = []
    for i in range(0, len(pictures), 100):
        with fast_autocast():
            z = vae.encode(as_batch(pictures[i : i + 100])).latent_dist.mean
        rows.append(z.float().numpy().astype(np.float16))
    np.save(path.with_suffix(".part.npy"), np.concatenate(rows))
    path.with_suffix(".part.npy").rename(path)
    c.say(f"latents: {path.name}")
    return np.concatenate(rows)
