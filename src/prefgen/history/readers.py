"""Histories from two folders, or from what a Python caller holds in their hands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from prefgen.core import History, HistoryItem, InputError, Side, nearest_hint
from prefgen.history.conflicts import refuse_conflicts, settle
from prefgen.history.items import item_from
from prefgen.history.pictures import PictureSource, picture_name

PerPicture: TypeAlias = Sequence[object] | Mapping[str, Sequence[object] | None] | None
"""A value for each picture: `{"liked": [...], "disliked": [...]}`, or one list over the liked, then the disliked."""

_SIDECARS = (
    ".txt",
    ".json",
    ".jsonl",
    ".ndjson",
    ".csv",
    ".tsv",
    ".md",
    ".yaml",
    ".yml",
    ".toml",
    ".xml",
    ".xmp",
    ".aae",
)
_LEFTOVERS = (".ini", ".db", ".log", ".html", ".part", ".tmp")
_SIDES: tuple[tuple[str, Side], ...] = (("liked", "like"), ("disliked", "dislike"))


def history_from_folders(
    liked: str | os.PathLike[str] | None,
    disliked: str | os.PathLike[str] | None,
    *,
    longest_px: int | None = None,
) -> History:
    """The pictures of a folder of likes and of a folder of dislikes (either may be None), each sorted by name.

    Hidden files, subfolders and side files (.txt, .json, .xmp, Thumbs.db …) are passed over; `fox.txt` beside `fox.png`
    is that picture's prompt. The same picture twice in a folder is kept once, the first by name. `longest_px` keeps
    small copies only, so that a folder of photographs fits into memory.

    Raises:
        InputError: a folder is missing, a file is not a picture that can be read, or there is no picture at all.
        ConflictError: the same picture is in both folders.
    """
    items: list[HistoryItem] = []
    for folder, (_, side) in zip((liked, disliked), _SIDES):
        paths = pictures_in(Path(folder)) if folder is not None else []
        items += [item_from(path, side, prompt=prompt_beside(path), longest_px=longest_px) for path in paths]
    refuse_conflicts(items)
    folders = [picture_name(folder) for folder in (liked, disliked) if folder is not None]
    return settle(items, origin=" and ".join(folders) or "a history without folders")


def history_from_items(
    liked: Iterable[PictureSource] | None = None,
    disliked: Iterable[PictureSource] | None = None,
    *,
    prompts: PerPicture = None,
    comments: PerPicture = None,
    times: PerPicture = None,
    weights: PerPicture = None,
    aspects: PerPicture = None,
    longest_px: int | None = None,
) -> History:
    """A history from pictures or paths, with optional values that run parallel to them.

    Each value is `{"liked": [...], "disliked": [...]}`, or one list over the liked and then the disliked pictures; None
    inside a list means absent. The same picture twice on a side is kept once. A picture on both sides: with times the
    latest opinion stands, else it is dropped and counted.

    Raises:
        InputError: no picture, a list of another length than its pictures, or a picture or value that cannot be used.

    Example:
        >>> history = history_from_items([Image.new("RGB", (8, 8))], weights=[2.0])
        >>> len(history.liked), history.items[0].weight
        (1, 2.0)
    """
    sources = {"liked": _as_list(liked, "liked"), "disliked": _as_list(disliked, "disliked")}
    counts = {side: len(pictures) for side, pictures in sources.items()}
    given = {"prompt": prompts, "comment": comments, "time": times, "weight": weights, "aspect": aspects}
    columns = {name: _per_side(values, name + "s", counts) for name, values in given.items()}
    items: list[HistoryItem] = []
    for name, side in _SIDES:
        for index, source in enumerate(sources[name]):
            cells = {column: values[name][index] for column, values in columns.items()}
            items.append(_item_at(f"{name}[{index}]", source, side, cells, longest_px))
    return settle(items)


def _item_at(
    where: str, source: PictureSource, side: Side, cells: Mapping[str, object], longest_px: int | None
) -> HistoryItem:
    try:
        return item_from(source, side, longest_px=longest_px, **cells)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", hint=error.hint) from error


def _as_list(pictures: object, name: str) -> list[PictureSource]:
    if pictures is None:
        return []
    if isinstance(pictures, (str, os.PathLike, Image.Image)) or not isinstance(pictures, Iterable):
        raise InputError(
            f"expected a list of pictures or paths as {name}, got {type(pictures).__name__}",
            hint=f"write {name}=[picture]; folders are read by history_from_folders",
        )
    return list(pictures)


def _per_side(values: object, name: str, counts: Mapping[str, int]) -> dict[str, Sequence[object]]:
    """The values as one list per side, each as long as that side's pictures."""
    if values is None:
        return {side: [None] * count for side, count in counts.items()}
    if isinstance(values, Mapping):
        unknown = [str(side) for side in values if side not in counts]
        if unknown:
            raise InputError(
                f"{name} has the side {unknown[0]!r}, expected liked or disliked", hint=nearest_hint(unknown[0], counts)
            )
        sides = {side: values.get(side) for side in counts}
        lists = {side: [None] * counts[side] if part is None else part for side, part in sides.items()}
        return {
            side: _of_length(part, f"{name}[{side!r}]", counts[side], f"{side} pictures")
            for side, part in lists.items()
        }
    flat = _of_length(values, name, sum(counts.values()), "pictures (liked, then disliked)")
    return {"liked": flat[: counts["liked"]], "disliked": flat[counts["liked"] :]}


def _of_length(values: object, name: str, n_expected: int, what: str) -> list[object]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InputError(f"expected a list as {name}, got {type(values).__name__}", hint="one value for each picture")
    listed = list(values)
    if len(listed) != n_expected:
        raise InputError(
            f"{name} has {len(listed)} values for {n_expected} {what}",
            hint='one value for each picture, None where there is none; by side: {"liked": [...], "disliked": [...]}',
        )
    return listed


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder by name; hidden files, subfolders and side files are passed over.

    Raises:
        InputError: there is no such folder.
    """
    name = picture_name(folder)
    if not folder.exists():
        raise InputError(f"the folder {name} does not exist", hint="check the path")
    if not folder.is_dir():
        raise InputError(f"{name} is not a folder", hint="give the folder that holds the pictures")
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise InputError(f"the folder {name} cannot be read: {error.strerror}") from error
    return [path for path in paths if not _passed_over(path)]


def _passed_over(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix.lower() in _SIDECARS + _LEFTOVERS or path.is_dir()


def prompt_beside(path: Path) -> str | None:
    """The text of `fox.txt` beside `fox.png`, or None.

    Raises:
        InputError: it is not UTF-8.
    """
    sidecar = path.with_suffix(".txt")
    if not sidecar.is_file():
        return None
    try:
        return sidecar.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the prompt {picture_name(sidecar)} cannot be read as UTF-8 text") from error
