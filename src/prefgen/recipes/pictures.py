"""Paints the training pictures once, into a memory-mapped file that every stage reads."""

from __future__ import annotations

import json
import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np

from prefgen.agents.painter import SIDE_PX, paint
from prefgen.agents.scene import Scene, random_scene
from prefgen.core import numpy_rng

CHUNK = 500
"""Pictures per unit of work; a killed run repaints at most one chunk per process."""


def scene_at(split: str, index: int, seed: int = 0) -> Scene:
    """The scene of one training picture: a pure function of split, index and seed."""
    return random_scene(numpy_rng("picture", split, seed, index), seed_class=split)


def _paint_chunk(chunk: int, *, folder: Path, split: str, n_pictures: int, seed: int) -> int:
    done = folder / f"{split}.{chunk}.done"
    if not done.exists():
        out = np.load(folder / f"{split}.npy", mmap_mode="r+")
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n_pictures)):
            out[i] = paint(scene_at(split, i, seed))
        out.flush()
        done.touch()
    return chunk


def paint_pictures(folder: Path, split: str, n_pictures: int, seed: int = 0, n_processes: int = 2) -> np.ndarray:
    """uint8 [n_pictures, 64, 64, 3], painted on first use and resumed when interrupted; returned memory-mapped."""
    folder.mkdir(parents=True, exist_ok=True)
    path, head = folder / f"{split}.npy", folder / f"{split}.json"
    shape = (n_pictures, SIDE_PX, SIDE_PX, 3)
    wanted = {"n_pictures": n_pictures, "seed": seed}
    if not path.exists() or json.loads(head.read_text()) != wanted:
        for old in folder.glob(f"{split}.*.done"):
            old.unlink()
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
        head.write_text(json.dumps(wanted))
    work = partial(_paint_chunk, folder=folder, split=split, n_pictures=n_pictures, seed=seed)
    chunks = range(-(-n_pictures // CHUNK))
    if any(not (folder / f"{split}.{c}.done").exists() for c in chunks):
        with multiprocessing.get_context("spawn").Pool(n_processes) as pool:
            for _ in pool.imap_unordered(work, chunks):
                pass
    return np.load(path, mmap_mode="r")
