"""EasyRef as a baseline: reference tokens in the language model's final layer, trained on our people.

What is the paper's (arXiv 2412.09618): learned tokens that join the sequence before the final layer, a final layer that
is trained and sees both ways, a projection, an image prompt's cross-attention, and a schedule that goes from single
pictures to sets. What differs, so that this is a re-implementation: the language model is ours and stays frozen below
its final layer (the paper's first stage; its later ones train all of it, beyond this budget), so that its states are
cached once; the prompt is not told to it, nor an instruction; tokens are as many as every method's here. What helps our
own adapter helps this one: tokens learn words before the generator is asked, the teacher, the perceptual loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from prefgen.adapter import UserAdapter, UserTokens, load_adapter, save_adapter
from prefgen.core import numpy_rng
from prefgen.mllm import ReferenceReader, reference_states
from prefgen.recipes.adapter_words import (
    BATCH,
    ECHO_WEIGHT,
    echo_loss,
    scene_targets,
    word_loss,
    word_settings,
    word_states,
    word_targets,
)
from prefgen.recipes.adapters import FROZEN, painting_losses, run_adapter_loop, target_latents
from prefgen.recipes.checkpoint import fingerprint, load_tensors, save_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.latent_eye import weighted_eye
from prefgen.recipes.liked_rows import LikedRows, taught_loss
from prefgen.recipes.loop import Loop
from prefgen.recipes.people_features import PEOPLE_A_FILE, PeopleFeatures, loaded_mllm, people_features
from prefgen.recipes.population import person_pictures, population
from prefgen.recipes.ranks import by_turns, is_first, shared

N_ORDERS = 2
"""Orders in which each person's liked pictures are read."""
SINGLE_ENDS = 0.2
"""Share of the training after which sets of pictures are heard as often as they will be; at first, mostly one."""
SHOWN = 4
"""Pictures in the sets that half of the later rows hear: as many as a method is handed in the benchmark."""


@dataclass(frozen=True, kw_only=True)
class LikedStates:
    """What the final layer is handed of people's liked pictures, in `N_ORDERS` orders each.

    `states` float16 [n_users, N_ORDERS, s, d]; `ends` int64 [n_users, N_ORDERS, n_pictures] as in `ReferenceStates`;
    `columns` int64 like it: which picture of the person stands there, -1 for padding.
    """

    states: Tensor
    ends: Tensor
    columns: Tensor

    def rows(self, users: list[int], orders: list[int], n_shown: list[int]) -> tuple[Tensor, Tensor]:
        """States float32 [n, s, d] of the first `n_shown` pictures, at most all there are, and how many count, [n]."""
        ends = self.ends[users, orders]
        last = torch.minimum(torch.tensor(n_shown), (ends > 0).sum(1)) - 1
        n_states = ends.gather(1, last[:, None])[:, 0]
        return self.states[users, orders, : int(n_states.max())].float(), n_states


def liked_columns(user: int, order: int, split: str, seed: int) -> list[int]:
    """The columns of a person's pictures labelled as liked, in one order; a pure function."""
    pictures = person_pictures(user, split, seed)
    liked = [j for j, shown in enumerate(pictures.history) if shown.liked]
    return [int(j) for j in numpy_rng("references", pictures.person.id, order).permutation(liked)]


@by_turns
def liked_states(c: Context, split: str = "train") -> LikedStates:
    """The states of a split's people, computed on first use, in files of `PEOPLE_A_FILE` people."""
    images = population(c, split)
    folder = c.work / "people" / f"references.{fingerprint(c.out / 'mllm')}"
    parts = [
        _part(c, split, images, start, folder / f"{split}.{start:06d}.safetensors")
        for start in range(0, len(images), PEOPLE_A_FILE)
    ]
    length, n_pictures = (max(part[name].shape[2] for part in parts) for name in ("states", "ends"))
    return LikedStates(
        states=torch.cat([F.pad(p["states"], (0, 0, 0, length - p["states"].shape[2])) for p in parts]),
        ends=torch.cat([F.pad(p["ends"], (0, n_pictures - p["ends"].shape[2])) for p in parts]),
        columns=torch.cat([F.pad(p["columns"], (0, n_pictures - p["columns"].shape[2]), value=-1) for p in parts]),
    )


def _part(c: Context, split: str, images: np.ndarray, start: int, path: Path) -> dict[str, Tensor]:
    if path.exists():
        return load_tensors(path)
    mllm, stop = loaded_mllm(c), min(start + PEOPLE_A_FILE, len(images))
    orders = [
        (user, liked_columns(user, k, split, c.preset.seed)) for user in range(start, stop) for k in range(N_ORDERS)
    ]
    n_pictures = max(len(columns) for _, columns in orders)
    columns = torch.tensor([there + [-1] * (n_pictures - len(there)) for _, there in orders])
    read = []
    for i in range(0, len(orders), 24):
        shown = [[Image.fromarray(np.array(images[user][j])) for j in there] for user, there in orders[i : i + 24]]
        read.append(reference_states(mllm, shown))
    length = max(one.states.shape[1] for one in read)
    found = {
        "states": torch.cat([F.pad(one.states, (0, 0, 0, length - one.states.shape[1])) for one in read]).half(),
        "ends": torch.cat([F.pad(one.ends, (0, n_pictures - one.ends.shape[1])) for one in read]),
        "columns": columns,
    }
    save_tensors(path, {name: value.unflatten(0, (-1, N_ORDERS)) for name, value in found.items()})
    c.say(f"reference states of {split} people {start} to {stop}")
    return load_tensors(path)


def n_shown(rng: np.random.Generator, n: int, progress: float) -> list[int]:
    """How many pictures each of `n` rows hears after a part of the training: one in most rows at first, later `SHOWN`
    in half of them and any number in the others."""
    single = rng.random(n) >= 0.1 + 0.9 * min(1.0, progress / SINGLE_ENDS)
    sets = np.where(rng.random(n) < 0.5, SHOWN, rng.integers(1, 15, n))
    return [int(k) for k in np.where(single, 1, sets)]


class ReferencePrompt(nn.Module):
    """What is trained: the reader and an adapter with the like group alone."""

    def __init__(self, reader: ReferenceReader, adapter: UserAdapter) -> None:
        super().__init__()
        self.reader, self.adapter = reader, adapter


def learn_reference_words(c: Context, reader: ReferenceReader, liked: LikedStates, people: PeopleFeatures) -> None:
    """Tokens learn to stand where words stand, as every baseline's that hears people: a set says its person's words, a
    single picture its own, and what has no word stands in the tokens beyond the families."""
    p, text = c.preset, TextEncoding(c.out)
    states = word_states(text)
    targets, weights = word_targets([people.person(u).person for u in range(len(people))], states, liked=True)

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        rng = numpy_rng("reference words", p.seed, step)
        users = [int(u) for u in rng.permutation(len(people))[:BATCH]]
        orders = [int(k) for k in rng.integers(0, N_ORDERS, len(users))]
        sets = shared(reader, *liked.rows(users, orders, n_shown(rng, len(users), 1.0)))
        alone = shared(reader, *liked.rows(users, orders, [1] * len(users)))
        first = liked.columns[users, orders, 0]
        scenes = [people.person(u).history[int(j)].scene for u, j in zip(users, first)]
        losses = {
            "words": word_loss(sets, targets[users], weights[users]),
            "pictures": word_loss(alone, *scene_targets(scenes, states)),
            "echo": echo_loss(alone, people.clip[torch.tensor(users), first].float()),
        }
        return {"loss": losses["words"] + losses["pictures"] + ECHO_WEIGHT * losses["echo"], **losses}

    settings = word_settings(p)
    made_from = fingerprint(*(c.out / part for part in ("text_encoder", "image_encoder", "mllm")))
    loop = Loop("easyref-words", c.work, reader, loss, settings, None, made_from=made_from)
    loop.run(c.deadline)
    loop.use_ema()


def train_easyref(c: Context) -> None:
    """Trains reference tokens and adapter; saved as `baselines/easyref/`."""
    folder = c.out.parent / "baselines" / "easyref"
    begins_again = c.begins_again("easyref") and (folder / "config.json").exists()
    if (folder / "config.json").exists() and not begins_again:
        return
    p, n_rows = c.preset, c.preset.adapter_twin_samples + c.preset.adapter_samples
    people, liked, latents = people_features(c, states=False), liked_states(c), target_latents(c)
    unet: Any = UNet2DConditionModel.from_pretrained(c.out / "unet").eval().requires_grad_(False)
    mllm = loaded_mllm(c)
    if begins_again:
        reader, adapter = ReferenceReader.load(folder, mllm).requires_grad_(True), load_adapter(folder, unet)
    else:
        torch.manual_seed(p.seed)  # not earlier: what is computed on first use above may draw
        reader = ReferenceReader(mllm, p.user_tokens, unet.config.cross_attention_dim)
        adapter = UserAdapter.for_network(unet, groups=("like",), init="copy")
        learn_reference_words(c, reader, liked, people)
    model, text, seen = ReferencePrompt(reader, adapter), TextEncoding(c.out), weighted_eye(c, p.eye_weight)

    def velocity(x: Tensor, timestep: Tensor, words: Tensor) -> Tensor:
        return shared(lambda *rows: unet(*rows).sample, x, timestep, words)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rng, progress = numpy_rng("adapter", p.seed, step), step * p.adapter_batch / n_rows
        rows = LikedRows(people, latents, rng, p.adapter_batch)
        orders = [int(k) for k in rng.integers(0, N_ORDERS, len(rows.users))]
        tokens = shared(model.reader, *liked.rows(rows.users, orders, n_shown(rng, len(rows.users), progress)))
        heard = UserTokens(like=tokens * rows.spoken[:, None, None])
        painted = taught_loss(model.adapter, heard, velocity, rows, text, generator, progress)
        return painting_losses(painted, rows.target_clip, seen, generator)

    with adapter.injected(unet):
        run_adapter_loop(c, "easyref", model, loss, None, n_rows, frozen=FROZEN)
    if not is_first():
        return
    save_adapter(adapter, folder, torch.float16)
    reader.save(folder)
