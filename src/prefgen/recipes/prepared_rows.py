"""What an adapter learns from on a large backbone, computed once: latents, text embeddings and user embeddings.

One safetensors file holds some rows; a folder holds such files. Neither the autoencoder nor a text encoder nor the
language model need be on the card while the adapter trains, and a row is read from disk when its turn comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from prefgen.core import DataError, InputError
from prefgen.diffusion import Conditions, encode_pictures, encode_prompts

PATTERN = "rows.*.safetensors"
NEEDED = ("latents", "text", "like", "dislike")


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Some rows: `latents` [n, channels, h, w]; `conditions` of as many; `like` and `dislike` [n, d_user], the user
    embedding of either side, zeros where that side is not heard."""

    latents: Tensor
    conditions: Conditions
    like: Tensor
    dislike: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Rows:
        """The same on another device, what the network reads in `dtype`; user embeddings stay float32."""
        return Rows(
            latents=self.latents.to(device=device, dtype=dtype),
            conditions=self.conditions.to(device, dtype),
            like=self.like.to(device=device, dtype=torch.float32),
            dislike=self.dislike.to(device=device, dtype=torch.float32),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name."""
        return {
            "latents": self.latents,
            **self.conditions.tensors(),
            "like": self.like,
            "dislike": self.dislike,
        }

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Rows:
        """From what `tensors` gave."""
        return Rows(
            latents=tensors["latents"],
            conditions=Conditions.of(tensors),
            like=tensors["like"],
            dislike=tensors["dislike"],
        )


def prepare_rows(
    pipe: Any,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    like: Tensor,
    dislike: Tensor,
    *,
    side_px: int,
    longest_text: int | None = None,
) -> Rows:
    """Rows of pictures: image i is what user embedding i (of either side, [n, d_user]) is to have painted for prompt i.

    An empty prompt, and an embedding of zeros, in some of the rows teach the network to do without.
    """
    counts = {"prompts": len(prompts), "liked embeddings": len(like), "disliked embeddings": len(dislike)}
    for what, count in counts.items():
        if count != len(images):
            raise InputError(f"expected {len(images)} {what}, one for each picture, got {count}")
    return Rows(
        latents=encode_pictures(pipe, images, side_px=side_px),
        conditions=encode_prompts(pipe, prompts, side_px=side_px, longest_text=longest_text),
        like=like,
        dislike=dislike,
    )


def save_rows(rows: Rows, folder: Path, index: int, dtype: torch.dtype = torch.float16) -> Path:
    """Writes `rows.INDEX.safetensors`; what the network reads in `dtype`, user embeddings in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PATTERN.replace("*", f"{index:05d}")
    tensors = {name: value.detach().cpu().contiguous() for name, value in rows.to("cpu", dtype).tensors().items()}
    save_file(tensors, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    return path


class RowFolder:
    """All rows of a folder, read one by one.

    Raises:
        DataError: a folder without rows, or a file that is none of rows.
    """

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob(PATTERN))
        if not paths:
            raise DataError(
                f"expected prepared rows ({PATTERN}) in {folder}, got none",
                hint="docs/backbones.md says how latents and embeddings are prepared",
            )
        self._files = [_opened(path) for path in paths]
        counts = [file.get_slice("latents").get_shape()[0] for file in self._files]
        self._places = [(file, row) for file, n in zip(self._files, counts) for row in range(n)]

    def __len__(self) -> int:
        return len(self._places)

    def rows(self, drawn: Sequence[int]) -> Rows:
        """The rows of these numbers, in their order."""
        told: dict[str, list[Tensor]] = {}
        for number in drawn:
            file, row = self._places[number]
            for name in file.keys():  # noqa: SIM118
                told.setdefault(name, []).append(file.get_slice(name)[row : row + 1])
        return Rows.of({name: torch.cat(parts) for name, parts in told.items()})


def _opened(path: Path) -> Any:
    try:
        file: Any = safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise DataError(f"expected prepared rows in {path}, got: {error}") from error
    if missing := [name for name in NEEDED if name not in file.keys()]:  # noqa: SIM118
        raise DataError(f"expected prepared rows in {path}, got a file without {', '.join(missing)}")
    return file
