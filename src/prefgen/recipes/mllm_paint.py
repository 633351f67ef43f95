"""Groups of pictures painted once into a memory-mapped file: twins for pretraining, people for preference training."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from prefgen.agents import SIDE_PX, Scene, paint
from prefgen.recipes.ranks import by_turns

CHUNK = 20
"""Groups per unit of work."""
ScenesAt = Callable[[int], Sequence[Scene]]


def _paint_chunk(chunk: int, *, path: Path, scenes_at: ScenesAt, n_groups: int) -> int:
    done = path.with_suffix(f".{chunk}.done")
    if not done.exists():
        out = np.load(path, mmap_mode="r+")
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n_groups)):
            for j, scene in enumerate(scenes_at(i)):
                out[i, j] = paint(scene)
        out.flush()
        done.touch()
    return chunk


@by_turns
def paint_groups(path: Path, scenes_at: ScenesAt, n_groups: int, per_group: int, n_processes: int = 2) -> np.ndarray:
    """uint8 [n_groups, per_group, 64, 64, 3], painted on first use, resumed when interrupted, memory-mapped.

    `scenes_at(i)` must be importable (spawned processes call it) and gives the `per_group` scenes of group i.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    head, whole = path.with_suffix(".json"), path.with_suffix(".done")
    wanted = {"n_groups": n_groups, "per_group": per_group}
    if not path.exists() or not head.exists() or json.loads(head.read_text()) != wanted:
        for old in path.parent.glob(f"{path.stem}*.done"):
            old.unlink()
        shape = (n_groups, per_group, SIDE_PX, SIDE_PX, 3)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
        head.write_text(json.dumps(wanted))
    if not whole.exists():
        work = partial(_paint_chunk, path=path, scenes_at=scenes_at, n_groups=n_groups)
        n_chunks = -(-n_groups // CHUNK)
        if n_chunks == 1:  # not worth a process
            work(0)
        else:
            _in_processes(work, n_chunks, n_processes)
        whole.touch()
        for chunk in range(n_chunks):
            path.with_suffix(f".{chunk}.done").unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def _in_processes(work: Callable[[int], int], n_chunks: int, n_processes: int) -> None:
    with multiprocessing.get_context("spawn").Pool(min(n_processes, n_chunks)) as pool:
        for _ in pool.imap_unordered(work, range(n_chunks)):
            pass
