"""Paints the training pictures once, into memory-mapped files that every stage reads."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from prefgen.agents.painter import SIDE_PX, paint
from prefgen.agents.scene import Scene, is_reserved, painter_seed, random_scene
from prefgen.agents.subjects import SUBJECTS
from prefgen.agents.vocabulary import SETTINGS
from prefgen.core import numpy_rng
from prefgen.recipes.ranks import by_turns

CHUNK = 500
"""Pictures per unit of work; a killed run repaints at most one chunk per process."""

RowOfScenes = Callable[[int], Sequence[Scene | None]]
"""The scenes of one row; None leaves a black picture."""


def scene_at(split: str, index: int, seed: int = 0) -> Scene:
    """The scene of one training picture: a pure function of split, index and seed."""
    if split == "twins":
        return twin_of(scene_at("train", index, seed), numpy_rng("twin", seed, index))
    return random_scene(numpy_rng("picture", split, seed, index), seed_class=split)


def twin_of(scene: Scene, rng: np.random.Generator) -> Scene:
    """Another subject, place and seed in the very same style: words, look and continuous traits are kept."""
    free = [s for s in SUBJECTS if s != scene.subject and not any(is_reserved(s, v) for v in scene.values.values())]
    setting = str(rng.choice(SETTINGS)) if rng.random() < 0.7 else None
    return replace(scene, subject=str(rng.choice(free)), setting=setting, seed=painter_seed(rng, "train"))


def _one_scene(index: int, *, split: str, seed: int) -> list[Scene]:
    return [scene_at(split, index, seed)]


def paint_pictures(folder: Path, split: str, n_pictures: int, seed: int = 0, n_processes: int = 2) -> np.ndarray:
    """uint8 [n_pictures, 64, 64, 3], painted on first use and resumed when interrupted; returned memory-mapped."""
    row = partial(_one_scene, split=split, seed=seed)
    return paint_rows(folder, split, n_pictures, 1, row, seed=seed, n_processes=n_processes)[:, 0]


def _paint_chunk(rows: tuple[int, int], *, folder: Path, name: str, row: RowOfScenes) -> None:
    done = folder / f"{name}.{rows[0]}.done"
    if not done.exists():
        out = np.load(folder / f"{name}.npy", mmap_mode="r+")
        for i in range(*rows):
            for j, scene in enumerate(row(i)):
                if scene is not None:
                    out[i, j] = paint(scene)
        out.flush()
        done.touch()


@by_turns
def paint_rows(
    folder: Path, name: str, n_rows: int, n_columns: int, row: RowOfScenes, *, seed: int = 0, n_processes: int = 2
) -> np.ndarray:
    """uint8 [n_rows, n_columns, 64, 64, 3] of the scenes that `row(i)` gives; resumable, memory-mapped.

    `row` must be picklable (a module's function or a `partial` of one), since the pictures are painted by processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, head = folder / f"{name}.npy", folder / f"{name}.json"
    wanted = {"shape": [n_rows, n_columns], "seed": seed}
    if not path.exists() or json.loads(head.read_text()) != wanted:
        for old in folder.glob(f"{name}.*.done"):
            old.unlink()
        shape = (n_rows, n_columns, SIDE_PX, SIDE_PX, 3)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
        head.write_text(json.dumps(wanted))
    step = max(1, CHUNK // n_columns)
    chunks = [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
    waiting = [chunk for chunk in chunks if not (folder / f"{name}.{chunk[0]}.done").exists()]
    work = partial(_paint_chunk, folder=folder, name=name, row=row)
    if len(waiting) == 1:
        work(waiting[0])
    elif waiting:
        with multiprocessing.get_context("spawn").Pool(n_processes) as pool:
            for _ in pool.imap_unordered(work, waiting):
                pass
    return np.load(path, mmap_mode="r")
