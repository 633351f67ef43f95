"""The baselines' adapters: CLIP embeddings through the same projection, tokens, steps and data as ours.

`ip_adapter` is the stock objective: a picture's own embedding paints that picture. `ip_adapter_user` hears the mean of
a person's liked embeddings and paints a liked picture of another prompt; it learns the words of a taste first and from
the network told more, as our adapter does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from prefgen.adapter import UserAdapter, UserTokens, save_adapter
from prefgen.alignment import Projector
from prefgen.core import numpy_rng
from prefgen.diffusion import flow_matching_loss
from prefgen.embedding import SIDES, SideFeatures
from prefgen.recipes.adapter_words import learn_words
from prefgen.recipes.adapters import NOBODY_RATE, Rows, run_adapter_loop, target_latents, taught_loss, teacher_share
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.people_features import people_features
from prefgen.recipes.population import N_HISTORY

BASELINES = ("ip_adapter", "ip_adapter_user")


class ImagePrompt(nn.Module):
    """A projection of one CLIP embedding and an adapter with the like group alone."""

    def __init__(self, projector: Projector, adapter: UserAdapter) -> None:
        super().__init__()
        self.projector, self.adapter = projector, adapter


def mean_embedding(side: SideFeatures) -> Tensor:
    """float32 [n, d_clip]: the weighted mean of each row's picture embeddings."""
    return (side.images * side.weights[..., None]).sum(1) / side.weights.sum(1, keepdim=True).clamp_min(1)


def baselines_folder(c: Context) -> Path:
    """Baselines lie beside the model folder, never in it."""
    return c.out.parent / "baselines"


def train_baselines(c: Context) -> None:
    """Trains every baseline that is not there yet."""
    for name in BASELINES:
        if not (baselines_folder(c) / name / "config.json").exists():
            _train(c, name)


def _train(c: Context, name: str) -> None:
    p = c.preset
    torch.manual_seed(p.seed)
    people, latents = people_features(c), target_latents(c)
    unet: Any = UNet2DConditionModel.from_pretrained(c.out / "unet").eval().requires_grad_(False)
    text = TextEncoding(c.out)
    d_clip = people.clip.shape[-1]

    def mean_tokens(users: list[int], variants: list[int], side: str) -> tuple[Tensor, None]:
        return model.projector(mean_embedding(people.side(users, variants, SIDES.index(side)))), None

    model = ImagePrompt(
        Projector(d_clip, unet.config.cross_attention_dim, p.user_tokens, hidden=3 * d_clip),
        UserAdapter.for_unet(unet, groups=("like",), init="copy"),
    )
    if name == "ip_adapter_user":
        learn_words(c, name, model.projector, people, mean_tokens, sides=("like",))
    model.adapter.inject(unet)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rng = numpy_rng("adapter", p.seed, step)
        rows = Rows(people, latents, rng, p.adapter_batch, disliked_rows=0.0)
        heard = torch.from_numpy(rng.random(len(rows.users)) >= NOBODY_RATE)
        tokens = model.projector(_embedding(name, rows)) * heard[:, None, None]
        heard_tokens = UserTokens(like=tokens)
        if name == "ip_adapter_user":
            share = teacher_share(step * p.adapter_batch / p.adapter_samples)
            return {"loss": taught_loss(model.adapter, heard_tokens, velocity, rows, text, generator, share)}
        with model.adapter.users(heard_tokens):
            return {"loss": flow_matching_loss(velocity, rows.latents, text(rows.prompts), generator).mean}

    def _embedding(kind: str, rows: Rows) -> Tensor:
        if kind == "ip_adapter":
            columns = [N_HISTORY + k for k in rows.columns]
            return people.clip[torch.tensor(rows.users), torch.tensor(columns)].float()
        return mean_embedding(people.side(rows.users, rows.variants, 0))

    def velocity(x: Tensor, timestep: Tensor, words: Tensor) -> Tensor:
        return unet(x, timestep, words).sample

    run_adapter_loop(c, name, model, loss, None)
    model.adapter.eject()
    folder = baselines_folder(c) / name
    folder.mkdir(parents=True, exist_ok=True)
    save_adapter(model.adapter, folder, torch.float16)
    save_file(
        {k: v.half().contiguous() for k, v in model.projector.state_dict().items()}, folder / "projector.safetensors"
    )
    save_json(
        folder / "config.json",
        {
            "d_clip": d_clip,
            "d_cross": unet.config.cross_attention_dim,
            "n_tokens": p.user_tokens,
            "hidden": 3 * d_clip,
            "pool": "mean",
        },
    )
