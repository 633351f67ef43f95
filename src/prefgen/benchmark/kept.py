"""What a run keeps beside its pictures: whose each is, what was asked, and the histories that were shown.

`pictures/{method}-{fingerprint}/tasks.json` runs parallel to that folder's `.npy` files;
`pictures/histories/{digest}.npy` are shared by all methods.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.benchmark.tasks import Shelf, Task
from prefgen.core import DataError, InputError, nearest_hint

TASKS, HISTORIES = "tasks.json", "histories"
N_FINGERPRINT_DIGITS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptHistory:
    """Pictures that a method was shown, uint8 [n, height, width, 3] a side."""

    digest: str
    liked: np.ndarray
    disliked: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptPicture:
    """One painted picture, uint8 [height, width, 3], and the task it answers."""

    person: str
    kind: str
    prompt: str
    seed: int
    pixels: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptRun:
    """All that is kept of one method of one run; `histories` by person."""

    method: str
    pictures: tuple[KeptPicture, ...]
    histories: Mapping[str, KeptHistory]


def keep_tasks(pictures: Path, name: str, tasks: Sequence[Task]) -> None:
    """Writes `tasks.json` into the folder `name` of `pictures`, and each history that is not there yet."""
    shelves = {task.case.person.id: task.case.shelf for task in tasks}
    told = {
        "tasks": [{"person": t.case.person.id, "kind": t.kind, "prompt": t.prompt, "seed": t.seed} for t in tasks],
        "histories": {person: _keep_history(pictures / HISTORIES, shelf) for person, shelf in shelves.items()},
    }
    (pictures / name).mkdir(parents=True, exist_ok=True)
    (pictures / name / TASKS).write_text(json.dumps(told) + "\n")


def _keep_history(folder: Path, shelf: Shelf) -> dict[str, Any]:
    digest = hashlib.sha256(repr((shelf.owner, shelf.shown)).encode()).hexdigest()[:N_FINGERPRINT_DIGITS]
    path = folder / f"{digest}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack([np.asarray(picture) for picture in shelf.pictures]))
    return {"digest": digest, "liked": [shown.liked for shown in shelf.shown]}


def kept_methods(run: Path) -> list[str]:
    """Names of the folders of a run (`prefgen bench --out`) that can be read back, `{method}-{fingerprint}`."""
    return sorted(path.parent.name for path in (run / "pictures").glob(f"*/{TASKS}"))


def read_kept(run: Path, method: str) -> KeptRun:
    """A method's pictures in a run; people whose pictures were not finished are left out.

    `method` is a name, or a name with its fingerprint where a run holds it more than once.

    Raises:
        InputError: the run holds no such method, or several.
        DataError: what is kept is damaged.
    """
    folder = run / "pictures" / _folder_of(run, method)
    try:
        told = json.loads((folder / TASKS).read_text())
        histories = {person: _read_history(run, kept) for person, kept in told["histories"].items()}
        pictures = [picture for person in histories for picture in _read_pictures(folder, person, told["tasks"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"expected the tasks, pictures and histories of a bench run in {folder}, got {error!r}",
            hint="run the same prefgen bench command again; what is whole is not painted anew",
        ) from error
    return KeptRun(method=method, pictures=tuple(pictures), histories=histories)


def _folder_of(run: Path, method: str) -> str:
    known = kept_methods(run)
    found = [name for name in known if method in (name, name[: -N_FINGERPRINT_DIGITS - 1])]
    if not known:
        raise InputError(
            f"expected a run of prefgen bench --out in {run}, got a folder without pictures/*/{TASKS}",
            hint="a run of an earlier version is completed by the same prefgen bench command",
        )
    if len(found) != 1:
        names = ", ".join(found or known)
        nearest = nearest_hint(method, {name[: -N_FINGERPRINT_DIGITS - 1] for name in known})
        raise InputError(
            f"expected one of {names} in {run}, got {method!r}",
            hint="give the whole name with its digits" if found else nearest,
        )
    return found[0]


def _read_history(run: Path, kept: Mapping[str, Any]) -> KeptHistory:
    digest = str(kept["digest"])
    shown = np.load(run / "pictures" / HISTORIES / Path(f"{digest}.npy").name, allow_pickle=False)
    liked = np.array(kept["liked"], dtype=bool)
    return KeptHistory(digest=digest, liked=shown[liked], disliked=shown[~liked])


def _read_pictures(folder: Path, person: str, tasks: Sequence[Mapping[str, Any]]) -> list[KeptPicture]:
    mine = [task for task in tasks if task["person"] == person]
    path = folder / Path(f"{person}.npy").name
    if not path.exists():
        return []
    pixels = np.load(path, allow_pickle=False)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != len(mine):
        raise ValueError(f"{path.name} holds {pixels.dtype} {pixels.shape} for {len(mine)} tasks")
    return [
        KeptPicture(person=person, kind=t["kind"], prompt=t["prompt"], seed=t["seed"], pixels=made)
        for t, made in zip(mine, pixels)
    ]
