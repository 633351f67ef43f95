"""What the frozen encoders see in people's pictures: computed once, a file for some people, read a person at a time.

A file is named by its people's opinions and by the encoders' weights, so a run that breaks off, or a folder that grows
or is mended, costs the files it touches. Nothing here grows with the number of people but files: who can be asked and
painted for is a memory-mapped list.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from prefgen.history.collect import CollectedPerson, people_in
from prefgen.history.splits import Split
from prefgen.mllm.vision import Seen
from prefgen.pipeline.embed import picture_features
from prefgen.pipeline.stored import MAX_STORED_PX
from prefgen.recipes.autoencoder import as_batch
from prefgen.recipes.checkpoint import fingerprint, save_tensors
from prefgen.recipes.loop import Deadline, Unfinished
from prefgen.recipes.own_data.people import OwnPerson, from_json, items_of, person_of, to_json

PEOPLE_A_FILE = 32
NOBODY = np.zeros(0, dtype=np.int64)
KEYS_A_FILE = 2**20
"""Keys that a file has room for: a picture's key is its file's number times this, and its row there."""


class SeesPictures(Protocol):
    """Frozen encoders: at most `longest_px` a side is looked at, and what is seen of n pictures is float16 `tokens`
    [n, n_tokens, d_lm], `clip` [n, d_clip] and `latents` [n, channels, h, w].

    Where pictures differ in their tokens, `tokens` are as many as the longest has, zeros behind the `n_tokens` [n] of
    a picture; `deeper` [n, n_tokens, n_levels, d_lm] and `grid` [n, 3] are a `Seen`'s, where the family has them.
    """

    longest_px: int

    def see(self, pictures: Sequence[Image.Image]) -> dict[str, Tensor]: ...


class Eyes:
    """The frozen encoders of a model folder: the language model's eyes, CLIP, and the autoencoder."""

    longest_px = MAX_STORED_PX

    def __init__(self, folder: Path) -> None:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        from prefgen.mllm import PreferenceMLLM
        from prefgen.pipeline.loading import load_image_encoder

        self.mllm = PreferenceMLLM.from_pretrained(folder / "mllm")
        self.mllm.vision.max_items = 1
        self.clip, self.extractor = load_image_encoder(folder, torch.device("cpu"))
        self.vae: Any = AutoencoderKL.from_pretrained(folder / "vae").eval()
        unet = json.loads((folder / "unet" / "config.json").read_text())
        self.side_px = unet["sample_size"] * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def see(self, pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
        """float16 `tokens` [n, n_tokens, d_lm], `clip` [n, d_clip] and `latents` [n, channels, h, w]."""
        square = np.stack([np.asarray(squared(picture, self.side_px)) for picture in pictures])
        latents = self.vae.encode(as_batch(square)).latent_dist.mean * self.vae.config.scaling_factor
        return {
            "tokens": torch.stack(self.mllm.vision.tokens(list(pictures))).half(),
            "clip": picture_features(pictures, self.clip, self.extractor).half(),
            "latents": latents.half(),
        }


def squared(picture: Image.Image, side_px: int) -> Image.Image:
    """The picture's middle as a square of `side_px`: what a generator of square pictures can learn to paint."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side)).resize((side_px, side_px), Image.Resampling.LANCZOS)


@dataclass(frozen=True, kw_only=True)
class People:
    """A split's people and what was seen in their pictures; at most a few files' people are held at a time.

    `askable` and `paintable` int64 [n] are the places of those who can be asked about, and be painted for.
    """

    files: tuple[Path, ...]
    n_people: int
    n_pictures: int
    askable: np.ndarray
    paintable: np.ndarray

    def __len__(self) -> int:
        return self.n_people

    def person(self, place: int) -> OwnPerson:
        """One person, keys counted over all files."""
        number, row = divmod(place, PEOPLE_A_FILE)
        return from_json(_told(self.files[number])[row])

    def rows(self, name: str, keys: Sequence[int]) -> Tensor:
        """float32 [n, ...]: `tokens`, `clip` or `latents` of some pictures."""
        if not len(keys):
            return torch.zeros(0, *_file(self.files[0]).get_slice(name).get_shape()[1:])
        return torch.stack([self._row(name, key).float() for key in keys])

    def pictures(self, keys: Sequence[int]) -> list[Tensor | Seen]:
        """Some pictures as `PreferenceMLLM.batch` takes them: tokens float32 [n_tokens, d_lm], with what belongs to
        them where pictures differ in their tokens."""
        return [self._picture(key) for key in keys]

    def _picture(self, key: int) -> Tensor | Seen:
        tokens = self._row("tokens", key).float()
        names = set(_file(self.files[key // KEYS_A_FILE]).keys())
        if "n_tokens" not in names:
            return tokens
        n = int(self._row("n_tokens", key))
        deeper = self._row("deeper", key)[:n].float().unbind(1) if "deeper" in names else ()
        grid = tuple(self._row("grid", key).tolist()) if "grid" in names else None
        return Seen(tokens=tokens[:n], deeper=deeper, grid=grid)

    def _row(self, name: str, key: int) -> Tensor:
        number, row = divmod(key, KEYS_A_FILE)
        return _file(self.files[number]).get_slice(name)[row]


@lru_cache(maxsize=16)
def _told(path: Path) -> list[dict[str, Any]]:
    return json.loads((_file(path).metadata() or {})["people"])


@lru_cache(maxsize=16)
def _file(path: Path) -> Any:
    return safe_open(path, framework="pt").__enter__()


def people_of(
    folder: Path, split: Split, model: Path, work: Path, *, deadline: Deadline, say: Callable[[str], None]
) -> People:
    """A split's people with their features by a model's frozen encoders, computed on first use; see `people_seen`."""
    made_by = fingerprint(*(model / part for part in ("mllm", "image_encoder", "vae")))
    return people_seen(folder, split, lambda: Eyes(model), made_by, work, deadline=deadline, say=say)


def people_seen(
    folder: Path,
    split: Split,
    eyes_of: Callable[[], SeesPictures],
    made_by: str,
    work: Path,
    *,
    deadline: Deadline,
    say: Callable[[str], None],
) -> People:
    """A split's people with their features by the encoders that `eyes_of` loads, `made_by` naming them.

    Raises:
        InputError, DataError: a picture or a file of the folder cannot be read.
        Unfinished: the time was up; what was read is kept.
    """
    eyes: list[SeesPictures] = []  # loaded when first needed
    home = work / "features" / made_by
    home.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    n_people = n_pictures = 0
    lists = {name: home / f"{split}.{name}" for name in ("askable", "paintable")}
    parts = {name: home / f"{split}.{name}.{os.getpid()}.part" for name in lists}
    with parts["askable"].open("wb") as askable, parts["paintable"].open("wb") as paintable:
        for number, some in enumerate(_in_groups(folder, split)):
            path = home / f"{_name_of(some, number)}.safetensors"
            is_new = not path.exists()
            if is_new:
                eyes = eyes or [eyes_of()]
                _write(path, some, number, eyes[0])
                say(f"features of {split} people {n_people} to {n_people + len(some)}")
            files.append(path)
            for place, raw in enumerate(_told(path), start=n_people):
                person = from_json(raw)
                n_pictures += len(person.opinions)
                askable.write(np.int64(place).tobytes() if person.can_be_asked else b"")
                paintable.write(np.int64(place).tobytes() if person.can_be_painted_for else b"")
            n_people += len(some)
            if is_new and deadline.passed:
                raise Unfinished(f"features: {n_people} {split} people")
    for name, path in lists.items():  # put in place whole: another process may read the one that was there
        os.replace(parts[name], path)
    places = {name: np.memmap(path, np.int64) if path.stat().st_size else NOBODY for name, path in lists.items()}
    return People(files=tuple(files), n_people=n_people, n_pictures=n_pictures, **places)


def _in_groups(folder: Path, split: Split) -> Iterator[list[CollectedPerson]]:
    people = people_in(folder, split)
    while some := list(islice(people, PEOPLE_A_FILE)):
        yield some


def _name_of(people: Sequence[CollectedPerson], number: int) -> str:
    rows = [[p.user_id, p.items, p.targets] for p in people]
    return hashlib.sha256(json.dumps([number, rows], ensure_ascii=False).encode("utf-8", "replace")).hexdigest()[:16]


def _write(path: Path, people: Sequence[CollectedPerson], number: int, eyes: SeesPictures) -> None:
    told: list[dict[str, Any]] = []
    seen: list[dict[str, Tensor]] = []
    n_rows = 0
    for collected in people:
        history = collected.history(longest_px=eyes.longest_px)
        items = items_of(history, collected.target_items(longest_px=eyes.longest_px))
        told.append(to_json(person_of(collected.user_id, items, number * KEYS_A_FILE + n_rows)))
        seen.append(eyes.see([item.image for item in items]))
        n_rows += len(items)
    save_tensors(path, {name: joined([one[name] for one in seen]) for name in seen[0]}, {"people": told})


def joined(rows: Sequence[Tensor]) -> Tensor:
    """Rows of several people, [n, length, ...] each, in one tensor; zeros behind those that are shorter."""
    if rows[0].ndim < 3:
        return torch.cat(list(rows))
    longest = max(one.shape[1] for one in rows)
    out = rows[0].new_zeros(sum(map(len, rows)), longest, *rows[0].shape[2:])
    for one, place in zip(rows, out.split([len(one) for one in rows])):
        place[:, : one.shape[1]] = one
    return out
