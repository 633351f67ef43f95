"""The PrefBench JSON layout: read one user's task at a time, and written only where it can hold everything.

A list of `{id, image_file, text, positive_img[], negative_img[], prompt_list[]}`: `image_file` is the target, a liked
picture, and `text` its prompt; `prompt_list` runs parallel to both picture lists. The two attribute strings of a user
stand under `attributes` as `[negative, positive]` (the key's name is this project's choice).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prefgen.core import DataError, History, HistoryItem, Side, nearest_hint
from prefgen.history.conflicts import settle
from prefgen.history.inside import path_inside
from prefgen.history.items import item_from
from prefgen.history.pictures import picture_name
from prefgen.history.tables import naming, parse_json, read_text

_REQUIRED = ("id", "image_file", "text", "positive_img", "negative_img", "prompt_list")
_SIDES: tuple[tuple[str, Side], ...] = (("positive_img", "like"), ("negative_img", "dislike"))


@dataclass(frozen=True, kw_only=True)
class PrefBenchRecord:
    """One task: a user's history, the liked picture to be met (with the task's prompt), and their taste in words."""

    user_id: str
    target: HistoryItem
    history: History
    liked_attributes: str = ""
    disliked_attributes: str = ""


def histories_from_prefbench(
    path: str | os.PathLike[str], images_root: str | os.PathLike[str] | None = None
) -> Iterator[PrefBenchRecord]:
    """The records of a PrefBench file; its picture paths are relative to `images_root` (default: the file's folder).

    The layout of the whole file is checked at once; pictures are loaded record by record as the iterator runs.
    A history lists its liked, then its disliked pictures; a picture on both sides is dropped and counted.

    Raises:
        DataError: the layout is not PrefBench's; the record is named.
        InputError: a file or picture cannot be read, or its path leads out of `images_root`.
    """
    file = Path(path)
    rows, name = layout_of(file), picture_name(file)
    root = Path(images_root) if images_root is not None else file.parent
    return _records(rows, root, name)


def layout_of(file: Path) -> list[dict]:
    """The records of a PrefBench file as JSON, the layout of all of them checked.

    Raises:
        DataError, InputError: as `histories_from_prefbench`.
    """
    name = picture_name(file)
    text = read_text(file)
    with naming(name):
        rows = parse_json(text)
        if not isinstance(rows, list):
            raise DataError(f"expected a list of records, got {type(rows).__name__}")
    for index, row in enumerate(rows):
        with naming(f"{name}, record {index}"):
            _check_layout(row)
    return rows


def write_prefbench(records: Iterable[PrefBenchRecord], path: str | os.PathLike[str]) -> Path:
    """Writes records as PrefBench JSON, their pictures beside it as `images/<sha256>.png`; returns the file's path.

    The layout has no place for times, weights, comments, aspects or a picture without prompt, and pairs every liked
    picture with a disliked one of the same prompt. What does not fit is refused before anything is written. Of the
    order of a history only that within each side is kept.

    Raises:
        DataError: names the record and what the layout cannot hold.
    """
    file = Path(path)
    listed = list(records)
    for index, record in enumerate(listed):
        with naming(f"record {index} (user {record.user_id!r})"):
            _check_holdable(record)
    (file.parent / "images").mkdir(parents=True, exist_ok=True)
    rows = [_row(record, file.parent) for record in listed]
    unfinished = file.with_name(file.name + ".part")
    unfinished.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, file)
    return file


def _records(rows: list[dict], root: Path, name: str) -> Iterator[PrefBenchRecord]:
    for index, row in enumerate(rows):
        with naming(f"{name}, record {index}"):
            items = [
                item_from(path_inside(root, image), side, prompt=prompt)
                for key, side in _SIDES
                for image, prompt in zip(row[key], row["prompt_list"])
            ]
            negative, positive = row.get("attributes", ("", ""))
            record = PrefBenchRecord(
                user_id=str(row["id"]),
                target=item_from(path_inside(root, row["image_file"]), "like", prompt=row["text"]),
                history=settle(items),
                liked_attributes=positive,
                disliked_attributes=negative,
            )
        yield record


def _check_layout(row: object) -> None:
    if not isinstance(row, dict):
        raise DataError(f"expected an object, got {type(row).__name__}")
    for key in _REQUIRED:
        if key not in row:
            near = nearest_hint(key, [found for found in row if found not in _REQUIRED])
            raise DataError(f"no {key!r}", hint=near or f"a record has {', '.join(_REQUIRED)}")
    if isinstance(row["id"], bool) or not isinstance(row["id"], (str, int)):
        raise DataError(f"expected text or a whole number as 'id', got {type(row['id']).__name__}")
    for key in ("image_file", "text"):
        if not isinstance(row[key], str):
            raise DataError(f"expected text as {key!r}, got {type(row[key]).__name__}")
    for key in ("positive_img", "negative_img", "prompt_list"):
        _check_texts(row[key], key, n_expected=None)
    _check_texts(row.get("attributes", ["", ""]), "attributes", n_expected=2)
    lengths = {key: len(row[key]) for key in ("prompt_list", "positive_img", "negative_img")}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise DataError(f"lists of unequal length: {told}", hint="prompt_list runs parallel to both picture lists")


def _check_texts(value: object, key: str, *, n_expected: int | None) -> None:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"expected a list of texts as {key!r}")
    if n_expected is not None and len(value) != n_expected:
        raise DataError(f"expected {n_expected} texts as {key!r} ([negative, positive]), got {len(value)}")


def _check_holdable(record: PrefBenchRecord) -> None:
    if record.target.side != "like":
        raise DataError("the target is a disliked picture; PrefBench's is a liked one")
    for item in (record.target, *record.history.items):
        _check_item_holdable(item)
    liked, disliked = record.history.liked, record.history.disliked
    if len(liked) != len(disliked):
        raise DataError(f"{len(liked)} liked and {len(disliked)} disliked pictures; PrefBench holds pairs only")
    for like, dislike in zip(liked, disliked):
        if like.prompt != dislike.prompt:
            raise DataError(
                f"a pair has two prompts, {like.prompt!r} and {dislike.prompt!r}; PrefBench holds one for both"
            )
    if len({item.sha256 for item in record.history.items}) < len(record.history):
        raise DataError("the history holds a picture twice, which reading would not return")


def _check_item_holdable(item: HistoryItem) -> None:
    held = {"time": item.time_s, "comment": item.comment, "weight": item.weight, "aspect": item.aspect}
    plain = {"time": None, "comment": None, "weight": 1.0, "aspect": "all"}
    for name, value in held.items():
        if value != plain[name]:
            raise DataError(
                f"PrefBench has no place for the {name} {value!r} of {item.source or 'a picture'}",
                hint="write a JSONL manifest instead, or remove it first if it may be lost",
            )
    if not item.prompt or not item.prompt.strip():
        raise DataError(f"{item.source or 'a picture'} has no prompt; PrefBench lists one for every picture")


def _row(record: PrefBenchRecord, root: Path) -> dict[str, object]:
    liked, disliked = record.history.liked, record.history.disliked
    return {
        "id": record.user_id,
        "image_file": _saved(record.target, root),
        "text": record.target.prompt,
        "positive_img": [_saved(item, root) for item in liked],
        "negative_img": [_saved(item, root) for item in disliked],
        "prompt_list": [item.prompt for item in liked],
        "attributes": [record.disliked_attributes, record.liked_attributes],
    }


def _saved(item: HistoryItem, root: Path) -> str:
    """The picture's path relative to `root`, written once for all records that share it."""
    relative = f"images/{item.sha256}.png"
    if not (root / relative).exists():
        unfinished = root / f"{relative}.part"
        item.image.convert("RGB").save(unfinished, format="PNG")
        os.replace(unfinished, root / relative)
    return relative
