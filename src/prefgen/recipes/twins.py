"""Training pictures whose style another picture shows: what an adapter learns to listen from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from prefgen.agents.scene import Scene
from prefgen.recipes.checkpoint import fingerprint, load_tensors, save_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.latents import cached_latents
from prefgen.recipes.people_features import clip_embeddings, picture_embeddings
from prefgen.recipes.pictures import scene_at
from prefgen.recipes.ranks import by_turns


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Training pictures with twins. `latents` [n, channels, h, w] and `own` float16 [n, d_clip] of the pictures, `clip`
    float16 [n, d_clip] of their twins; picture i shows `scene_at("train", i, seed)`."""

    latents: np.ndarray
    own: Tensor
    clip: Tensor
    seed: int

    def scene(self, index: int) -> Scene:
        """What picture `index` shows."""
        return scene_at("train", index, self.seed)


@by_turns
def twins_of(c: Context) -> Twins:
    """All twins with their embeddings, computed once."""
    pictures = c.pictures("twins")
    path = c.work / f"twins.{len(pictures)}.{fingerprint(c.out / 'image_encoder')}.safetensors"
    if not path.exists():
        save_tensors(path, {"clip": clip_embeddings(c.out, pictures)})
    return Twins(
        latents=cached_latents(c, n_pictures=len(pictures)),
        own=picture_embeddings(c)[: len(pictures)],
        clip=load_tensors(path)["clip"],
        seed=c.preset.seed,
    )
