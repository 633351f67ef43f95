"""The baselines' adapters: CLIP embeddings through the same projection, tokens, steps and data as ours.

`ip_adapter` is the stock objective: a picture's own embedding paints that picture. `ip_adapter_user` hears the mean of
a person's liked embeddings and paints a liked picture of another prompt; it learns the words of a taste first and from
the network told more, under the same perceptual loss as our adapter. `e_img_only` is our whole method without a
language model: user encoder and adapter trained as ours, twins included, on the pictures' CLIP embeddings alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prefgen.adapter import UserAdapter, UserTokens, load_adapter, save_adapter
from prefgen.alignment import Projector
from prefgen.core import numpy_rng
from prefgen.diffusion import flow_matching_loss
from prefgen.embedding import SIDES, SideFeatures
from prefgen.probing import LayerChoice
from prefgen.recipes.adapter_words import PeopleWords, learn_words
from prefgen.recipes.adapters import (
    FROZEN,
    painting_losses,
    run_adapter_loop,
    target_latents,
    train_personal,
)
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.latent_eye import weighted_eye
from prefgen.recipes.latents import listening_times
from prefgen.recipes.liked_rows import LikedRows, taught_loss
from prefgen.recipes.people_features import PeopleFeatures, people_features
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import is_first, own, shared
from prefgen.recipes.twins import twins_of

BASELINES = ("ip_adapter", "ip_adapter_user")
E_IMG_ONLY = "e_img_only"
NO_STATES = LayerChoice(e_core=(0,), e_sem=(0,), reason="no language model is heard")


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
        if not (baselines_folder(c) / name / "config.json").exists() or c.begins_again(name):
            _train(c, name)
    folder = baselines_folder(c) / E_IMG_ONLY
    if not (folder / "adapter").is_dir() or c.begins_again(E_IMG_ONLY):
        people = {split: people_features(c, split, states=False) for split in ("train", "validation")}
        train_personal(c, E_IMG_ONLY, people, NO_STATES, ("img",), folder)


def _train(c: Context, name: str) -> None:
    p = c.preset
    torch.manual_seed(p.seed)
    people, latents = people_features(c, states=False), target_latents(c)
    unet: Any = UNet2DConditionModel.from_pretrained(c.out / "unet").eval().requires_grad_(False)
    d_clip = people.clip.shape[-1]
    model = ImagePrompt(
        Projector(d_clip, unet.config.cross_attention_dim, p.user_tokens, hidden=3 * d_clip),
        UserAdapter.for_network(unet, groups=("like",), init="copy"),
    )
    began = baselines_folder(c) / name
    begins_again = c.begins_again(name) and (began / "config.json").exists()
    if begins_again:
        model.adapter = load_adapter(began, unet)
        model.projector.load_state_dict({k: v.float() for k, v in load_file(began / "projector.safetensors").items()})
    if name == "ip_adapter_user" and (c.sees_anew or not begins_again):

        def mean_tokens(users: list[int], variants: list[int], side: str) -> tuple[Tensor, None]:
            return model.projector(mean_embedding(people.side(users, variants, SIDES.index(side)))), None

        def picture_tokens(embeddings: Tensor, side: str) -> Tensor:
            return model.projector(embeddings)

        words = PeopleWords(people, TextEncoding(c.out), mean_tokens, sides=("like",))
        learn_words(c, name, model.projector, words, twins_of(c), picture_tokens, frozen=FROZEN[2:-1])
    model.adapter.inject(unet)
    loss, n_rows = _loss_of(c, name, model, unet, people, latents), p.adapter_twin_samples + p.adapter_samples
    run_adapter_loop(c, name, model, loss, None, n_rows, frozen=FROZEN[:-1])
    model.adapter.eject()
    if is_first():
        _save(model, baselines_folder(c) / name, d_clip=d_clip, d_cross=unet.config.cross_attention_dim, preset=p)


def _loss_of(
    c: Context, name: str, model: ImagePrompt, unet: Any, people: PeopleFeatures, latents: np.ndarray
) -> Callable[[int, torch.Generator], dict[str, Tensor]]:
    """The loss of a step: prompts and dropout as in our own training, with liked targets alone."""
    p, text = c.preset, TextEncoding(c.out)
    seen = weighted_eye(c, p.eye_weight) if name == "ip_adapter_user" else None

    def velocity(x: Tensor, timestep: Tensor, words: Tensor) -> Tensor:
        return shared(lambda *rows: unet(*rows).sample, x, timestep, words)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = LikedRows(people, latents, numpy_rng("adapter", p.seed, step), p.adapter_batch)
        if name == "ip_adapter":
            heard = UserTokens(like=model.projector(rows.target_clip) * rows.spoken[:, None, None])
            times, words = listening_times(len(rows.latents), generator), text(rows.prompts)
            with model.adapter.users(UserTokens(like=own(heard.like))):
                return {"loss": flow_matching_loss(velocity, rows.latents, words, generator, times=times).mean}
        liked = mean_embedding(people.side(rows.users, rows.variants, 0))
        heard = UserTokens(like=model.projector(liked) * rows.spoken[:, None, None])
        progress = step * p.adapter_batch / (p.adapter_twin_samples + p.adapter_samples)
        painted = taught_loss(model.adapter, heard, velocity, rows, text, generator, progress)
        return painting_losses(painted, rows.target_clip, seen, generator)

    return loss


def _save(model: ImagePrompt, folder: Path, *, d_clip: int, d_cross: int, preset: Preset) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_adapter(model.adapter, folder, torch.float16)
    half = {k: v.half().contiguous() for k, v in model.projector.state_dict().items()}
    save_file(half, folder / "projector.safetensors")
    shape = {"d_clip": d_clip, "d_cross": d_cross, "n_tokens": preset.user_tokens, "hidden": 3 * d_clip, "pool": "mean"}
    save_json(folder / "config.json", shape)
