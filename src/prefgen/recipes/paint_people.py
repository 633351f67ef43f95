"""The pictures of many simulated people, painted into shards, here or by many workers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from prefgen.agents.painter import SIDE_PX, paint
from prefgen.recipes.checkpoint import save_tensors
from prefgen.recipes.many import Work, each
from prefgen.recipes.population import N_COLUMNS, person_pictures

PEOPLE_A_SHARD = 50


def paint_people(
    out: Path,
    n_people: int,
    *,
    split: str = "train",
    seed: int = 0,
    engine: str = "local",
    n_workers: int = 1,
    people_a_shard: int = PEOPLE_A_SHARD,
) -> list[Path]:
    """Files `{split}-{first person:08d}.safetensors` with `pictures` uint8 [n, N_COLUMNS, 64, 64, 3], columns as in
    `recipes.population`; files that are there are left alone, so that the same call resumes."""
    out = out.resolve()  # a worker may stand elsewhere
    out.mkdir(parents=True, exist_ok=True)
    starts = range(0, n_people, people_a_shard)
    pieces = [[start, min(start + people_a_shard, n_people)] for start in starts]
    waiting = [piece for piece in pieces if not shard_of(out, split, piece[0]).exists()]
    for _ in each(partial(_painter, out, split, seed), waiting, engine=engine, n_workers=n_workers):
        pass
    return [shard_of(out, split, piece[0]) for piece in pieces]


def shard_of(out: Path, split: str, start: int) -> Path:
    """The file whose first person is `start`."""
    return out / f"{split}-{start:08d}.safetensors"


def _painter(out: Path, split: str, seed: int) -> Work:
    def work(piece: list[int]) -> int:
        pictures = np.zeros((piece[1] - piece[0], N_COLUMNS, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        for row, person in enumerate(range(*piece)):
            for column, scene in enumerate(person_pictures(person, split, seed).scenes):
                if scene is not None:
                    pictures[row, column] = paint(scene)
        save_tensors(shard_of(out, split, piece[0]), {"pictures": torch.from_numpy(pictures)}, {"seed": seed})
        return len(pictures)

    return work
