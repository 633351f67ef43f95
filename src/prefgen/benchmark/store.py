"""Pictures already painted, kept on disk, so that a broken run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.benchmark.kept import keep_tasks
from prefgen.benchmark.tasks import Task


def fingerprint(*parts: Any) -> str:
    """Twelve hex digits of whatever decides the pictures: weights, parameters, plan, seed."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class PictureStore:
    """A folder of `{method}-{fingerprint}/{person}.npy`, with what was asked beside them (`kept`); `folder` None keeps
    nothing.
    """

    folder: Path | None = None

    def painted(
        self,
        name: str,
        key: str,
        tasks: Sequence[Task],
        paint: Callable[[Sequence[Task]], list[np.ndarray]],
        *,
        users_per_call: int = 8,
        done: Callable[[int], object] = lambda _: None,
    ) -> np.ndarray:
        """uint8 [n_tasks, 64, 64, 3]: from disk where there, else painted a few people at a time and kept.

        `done` is told how many pictures are finished each time.
        """
        if self.folder is not None:
            keep_tasks(self.folder, f"{name}-{key}", tasks)
        by_user: dict[str, list[int]] = {}
        for i, task in enumerate(tasks):
            by_user.setdefault(task.case.person.id, []).append(i)
        out: np.ndarray | None = None
        people = list(by_user)
        for start in range(0, len(people), users_per_call):
            part = people[start : start + users_per_call]
            missing = [p for p in part if not self._has(name, key, p, len(by_user[p]))]
            places = [i for p in missing for i in by_user[p]]
            fresh = dict(zip(places, paint([tasks[i] for i in places]))) if places else {}
            for person in part:
                mine = by_user[person]
                if person in missing:
                    pictures = np.stack([fresh[i] for i in mine])
                    self._keep(name, key, person, pictures)
                else:
                    pictures = np.load(self._path(name, key, person), allow_pickle=False)
                if out is None:
                    out = np.zeros((len(tasks), *pictures.shape[1:]), np.uint8)
                out[mine] = pictures
                done(len(mine))
        return np.zeros((0, 64, 64, 3), np.uint8) if out is None else out

    def _path(self, name: str, key: str, person: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}-{key}" / f"{person}.npy"

    def _has(self, name: str, key: str, person: str, n: int) -> bool:
        if self.folder is None or not self._path(name, key, person).exists():
            return False
        return len(np.load(self._path(name, key, person), mmap_mode="r", allow_pickle=False)) == n

    def _keep(self, name: str, key: str, person: str, pictures: np.ndarray) -> None:
        if self.folder is None:
            return
        path = self._path(name, key, person)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, pictures)
        os.replace(part, path)
