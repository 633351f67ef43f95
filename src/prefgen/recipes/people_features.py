"""What the frozen encoders see in every training person: MLLM states and CLIP embeddings, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from prefgen.core import History, HistoryItem, numpy_rng
from prefgen.embedding import SideFeatures
from prefgen.recipes.autoencoder import as_batch
from prefgen.recipes.checkpoint import fingerprint, load_tensors, save_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.population import N_COLUMNS, PersonPictures, person_pictures, population
from prefgen.recipes.precision import fast_autocast
from prefgen.recipes.ranks import by_turns

PEOPLE_A_FILE = 250
"""People whose features one file holds: what a broken run may lose."""
N_VARIANTS = 3
"""Histories drawn from each person's pictures: 4+4, all of them, and a random unbalanced part."""


def variant_columns(pictures: PersonPictures, variant: int) -> tuple[list[int], list[int]]:
    """The columns of (liked, disliked) pictures, as labelled, that one variant shows."""
    rng = numpy_rng("variant", pictures.person.id, variant)
    sides = [[j for j, s in enumerate(pictures.history) if s.liked == liked] for liked in (True, False)]
    if variant == 0:
        counts = [4, 4]
    elif variant == 1:
        counts = [len(side) for side in sides]
    else:
        counts = [int(rng.integers(1, 9)), int(rng.integers(0, 9))]
    likes, dislikes = ([int(j) for j in sorted(rng.permutation(s)[:n])] for s, n in zip(sides, counts))
    return likes, dislikes


def history_from(pictures: PersonPictures, images: np.ndarray, columns: tuple[list[int], list[int]]) -> History:
    """A `History` of painted pictures, in time order."""
    chosen = sorted([(j, "like") for j in columns[0]] + [(j, "dislike") for j in columns[1]])
    items = tuple(
        HistoryItem(image=Image.fromarray(np.array(images[j])), side="like" if side == "like" else "dislike")
        for j, side in chosen
    )
    return History(items=items)


@torch.no_grad()
def clip_embeddings(folder: Path, pictures: np.ndarray, batch: int = 256) -> Tensor:
    """float16 [n, d_clip] projected CLIP image embeddings of uint8 pictures."""
    clip = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").eval()
    parts = []
    for i in range(0, len(pictures), batch):
        with fast_autocast():
            parts.append(clip(pixel_values=as_batch(pictures[i : i + batch])).image_embeds.half())
    return torch.cat(parts)


@by_turns
def picture_embeddings(c: Context) -> Tensor:
    """float16 [n_pictures, d_clip]: embeddings of the training pictures whose latents are cached, computed once."""
    n_pictures = min(c.preset.unet_pictures, len(c.pictures()))
    path = c.work / f"embeddings.{n_pictures}.{fingerprint(c.out / 'image_encoder')}.safetensors"
    if not path.exists():
        save_tensors(path, {"clip": clip_embeddings(c.out, c.pictures()[:n_pictures])})
    return load_tensors(path)["clip"]


@dataclass(frozen=True, kw_only=True)
class PeopleFeatures:
    """Features of a split's people.

    `last`, `mean` float16 [n_users, N_VARIANTS, 2 sides, n_states, d_lm]; `clip` float16 [n_users, N_COLUMNS, d_clip].
    """

    split: str
    seed: int
    last: Tensor
    mean: Tensor
    clip: Tensor

    def __len__(self) -> int:
        return len(self.last)

    def person(self, index: int) -> PersonPictures:
        """The pictures of one person."""
        return person_pictures(index, self.split, self.seed)

    def side(self, users: list[int], variants: list[int], side: int) -> SideFeatures:
        """The features of one side (0 likes, 1 dislikes) of some people's histories."""
        columns = [variant_columns(self.person(u), v)[side] for u, v in zip(users, variants)]
        n = max(1, max(map(len, columns)))
        images, weights = torch.zeros(len(users), n, self.clip.shape[-1]), torch.zeros(len(users), n)
        for row, (user, picked) in enumerate(zip(users, columns)):
            images[row, : len(picked)] = self.clip[user, picked].float()
            weights[row, : len(picked)] = 1
        index = torch.tensor(users), torch.tensor(variants)
        return SideFeatures(
            last=self.last[index][:, side].float(),
            mean=self.mean[index][:, side].float(),
            images=images,
            weights=weights,
        )


@by_turns
def people_features(c: Context, split: str = "train", *, states: bool = True) -> PeopleFeatures:
    """The features of a split's people, computed on first use (in parts, so that a broken run loses little).

    Without `states` nobody is read by an MLLM: every state is one single zero.
    """
    images = population(c, split)
    starts = range(0, len(images), PEOPLE_A_FILE)
    clip = torch.cat([_clip_part(c, split, images, start)["clip"] for start in starts])
    last = mean = torch.zeros(len(images), N_VARIANTS, 2, 1, 1)
    if states:
        parts = [_states_part(c, split, images, start) for start in starts]
        last, mean = (torch.cat([part[k] for part in parts]) for k in ("last", "mean"))
    return PeopleFeatures(split=split, seed=c.preset.seed, last=last, mean=mean, clip=clip)


def _part_file(c: Context, split: str, start: int, made_by: str) -> Path:
    """Each encoder's part lies by the weights that made it, so that a new one leaves the other's work standing."""
    return c.work / "people" / f"{made_by}.{fingerprint(c.out / made_by)}" / f"{split}.{start:06d}.safetensors"


def _clip_part(c: Context, split: str, images: np.ndarray, start: int) -> dict[str, Tensor]:
    path = _part_file(c, split, start, "image_encoder")
    if not path.exists():
        part = images[start : start + PEOPLE_A_FILE]
        clip = clip_embeddings(c.out, part.reshape(-1, *images.shape[2:]))
        save_tensors(path, {"clip": clip.unflatten(0, (-1, N_COLUMNS))})
    return load_tensors(path)


def _states_part(c: Context, split: str, images: np.ndarray, start: int) -> dict[str, Tensor]:
    path = _part_file(c, split, start, "mllm")
    if not path.exists():
        stop = min(start + PEOPLE_A_FILE, len(images))
        last, mean = _states(c, split, images, start, stop)
        save_tensors(path, {"last": last.half(), "mean": mean.half()})
        c.say(f"states of {split} people {start} to {stop}")
    return load_tensors(path)


_MLLM: dict[Path, Any] = {}


def loaded_mllm(c: Context) -> Any:
    """The trained MLLM behind its port, loaded once."""
    from prefgen.mllm import PreferenceMLLM

    folder = c.out / "mllm"
    if folder not in _MLLM:
        _MLLM[folder] = PreferenceMLLM.from_pretrained(folder)
    return _MLLM[folder]


def _states(c: Context, split: str, images: np.ndarray, start: int, stop: int) -> tuple[Tensor, Tensor]:
    mllm = loaded_mllm(c)
    histories = []
    for user in range(start, stop):
        pictures = person_pictures(user, split, c.preset.seed)
        histories += [history_from(pictures, images[user], variant_columns(pictures, v)) for v in range(N_VARIANTS)]
    order = sorted(range(len(histories)), key=lambda i: len(histories[i]))
    last: dict[int, Tensor] = {}
    mean: dict[int, Tensor] = {}
    for i in range(0, len(order), 24):
        rows = order[i : i + 24]
        states = mllm.encode_batch([histories[r] for r in rows])
        for k, row in enumerate(rows):
            last[row] = torch.stack([states.like.last[k], states.dislike.last[k]])
            mean[row] = torch.stack([states.like.mean[k], states.dislike.mean[k]])
    stacked = [torch.stack([table[i] for i in range(len(histories))]) for table in (last, mean)]
    return stacked[0].unflatten(0, (-1, N_VARIANTS)), stacked[1].unflatten(0, (-1, N_VARIANTS))
