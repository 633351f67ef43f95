"""A finished folder of people: what is written into it, and how it is read.

`people/<split>-00000.jsonl` holds a person a line, whose `items` are rows of this project's manifest; their `image`
paths lead to `images/ab/<sha256 of the file>.<suffix>` beside it. `data.json` says where all came from, under which
settings, and what was counted at each step. Users are split by identity (`prefgen.history.split_of`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from prefgen.core import DataError, History, HistoryItem, InputError, nearest_hint
from prefgen.history.collect.merging import Merged
from prefgen.history.conflicts import settle
from prefgen.history.inside import path_inside
from prefgen.history.items import item_from, parse_side
from prefgen.history.splits import SPLITS, Split
from prefgen.history.tables import naming, parse_json, read_text

FORMAT, VERSION = "prefgen people", 1
_MAX_LINE_LETTERS = 64 * 2**20
_CELLS = ("image", "side", "prompt", "comment", "time", "weight", "aspect")


@dataclass(frozen=True, kw_only=True)
class CollectedPerson:
    """One person of a people folder: rows as in a manifest, read but not yet loaded."""

    user_id: str
    split: Split
    folder: Path
    items: tuple[dict[str, object], ...]
    targets: tuple[dict[str, object], ...] = ()
    attributes: tuple[str, str] = ("", "")
    n_dropped_conflicts: int = 0

    def history(self, *, longest_px: int | None = None) -> History:
        """The history with its pictures, in the order in which opinions were met.

        Raises:
            InputError: a picture is missing or damaged, or its path leads out of the folder.
        """
        with naming(f"user {self.user_id!r}"):
            items = [self._item(row, longest_px) for row in self.items]
            return settle(items, n_dropped=self.n_dropped_conflicts)

    def target_items(self, *, longest_px: int | None = None) -> tuple[HistoryItem, ...]:
        """The liked pictures kept apart from the history, to be met by what is made for this person."""
        with naming(f"user {self.user_id!r}"):
            return tuple(self._item({**row, "side": "like"}, longest_px) for row in self.targets)

    def _item(self, row: dict[str, object], longest_px: int | None) -> HistoryItem:
        path = path_inside(self.folder, str(row["image"]))
        cells = {name: value for name, value in row.items() if name not in ("image", "side")}
        return item_from(path, parse_side(row["side"]), longest_px=longest_px, **cells)  # pyright: ignore


def people_in(folder: str | os.PathLike[str], split: Split | None = None) -> Iterator[CollectedPerson]:
    """The people of a folder, a line at a time, in the order of their shards; of one split or of all.

    Raises:
        InputError: there is no such folder of people, or no such split.
        DataError: a file is not what its name says; file and line are named.
    """
    root = Path(folder)
    shards = shards_of(root)
    if split is not None and split not in SPLITS:
        raise InputError(f"expected a split of {', '.join(SPLITS)}, got {split!r}")
    return (
        person
        for name in SPLITS
        if split in (None, name)
        for shard in shards.get(name, [])
        for person in _people_of(root, path_inside(root, shard), name)
    )


def shards_of(root: Path) -> dict[Split, list[str]]:
    """The shards of every split, as `data.json` lists them.

    Raises:
        InputError, DataError: as `people_in`.
    """
    head = head_of(root)
    shards = head.get("shards")
    if not isinstance(shards, dict) or not all(isinstance(paths, list) for paths in shards.values()):
        raise DataError(f"{root / 'data.json'}: expected lists of shards by split")
    return {split: [str(path) for path in shards.get(split, [])] for split in SPLITS}


def head_of(root: Path) -> dict[str, object]:
    """The contents of `data.json`.

    Raises:
        InputError: the folder has none.
        DataError: it is not one of ours, or of a later version.
    """
    path = root / "data.json"
    if not path.exists():
        unfinished = (root / ".work").exists()
        hint = "its run is unfinished: the same command goes on" if unfinished else "prefgen data makes such folders"
        raise InputError(f"{root} is no folder of people: it has no data.json", hint=hint)
    with naming(str(path)):
        head = parse_json(read_text(path))
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise DataError(f"expected the format {FORMAT!r}")
        if head.get("version") != VERSION:
            raise DataError(f"expected version {VERSION}, got {head.get('version')!r}", hint="a newer prefgen wrote it")
    return head


def _people_of(root: Path, shard: Path, split: Split) -> Iterator[CollectedPerson]:
    try:
        file = shard.open("rb")
    except OSError as error:
        raise InputError(f"{shard} cannot be read: {error.strerror}") from error
    with file:
        for line, data in enumerate(iter(lambda: file.readline(_MAX_LINE_LETTERS), b""), start=1):
            with naming(f"{shard.name}, line {line}"):
                yield _person(data, root, split)


def _person(data: bytes, root: Path, split: Split) -> CollectedPerson:
    try:
        row = parse_json(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text") from error
    if not isinstance(row, dict) or not isinstance(row.get("user_id"), str):
        raise DataError("expected an object with 'user_id'")
    for key in ("items", "targets"):
        rows = row.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(item, dict) and "image" in item for item in rows):
            raise DataError(f"expected a list of rows with 'image' as {key!r}")
        _check_cells(rows, needs_side=key == "items")
    words = row.get("attributes", ["", ""])
    if not isinstance(words, list) or len(words) != 2 or not all(isinstance(text, str) for text in words):
        raise DataError("expected two texts as 'attributes' ([negative, positive])")
    return CollectedPerson(
        user_id=row["user_id"],
        split=split,
        folder=root,
        items=tuple(row.get("items", [])),
        targets=tuple(row.get("targets", [])),
        attributes=(words[0], words[1]),
        n_dropped_conflicts=int(row.get("n_dropped_conflicts", 0)),
    )


def _check_cells(rows: list[dict[str, object]], *, needs_side: bool) -> None:
    for row in rows:
        if needs_side and "side" not in row:
            raise DataError("expected a 'side' (like or dislike) in every row of 'items'")
        for name in row:
            if name not in _CELLS:
                raise DataError(f"expected cells of {', '.join(_CELLS)}, got {name!r}", hint=nearest_hint(name, _CELLS))


class ShardWriter:
    """People as lines, `n_per_shard` a file; files are unfinished (`.part`) until full or until `close`."""

    def __init__(self, root: Path, n_per_shard: int) -> None:
        self.root, self.n_per_shard = root, n_per_shard
        self.shards: dict[Split, list[str]] = {split: [] for split in SPLITS}
        self._open: dict[Split, tuple[TextIO, int]] = {}
        (root / "people").mkdir(parents=True, exist_ok=True)
        for old in (root / "people").iterdir():
            old.unlink()

    def add(self, user_id: str, split: Split, person: Merged, attributes: tuple[str, str] | None) -> None:
        """One person more."""
        cells = {
            "user_id": user_id,
            "items": person.rows,
            "targets": person.targets,
            "attributes": attributes,
            "n_dropped_conflicts": person.counts["pictures liked and disliked"],
        }
        file, n_in = self._open.get(split) or (self._part(split).open("w", encoding="utf-8", newline="\n"), 0)
        file.write(json.dumps({name: value for name, value in cells.items() if value}, ensure_ascii=False) + "\n")
        self._open[split] = (file, n_in + 1)
        if n_in + 1 == self.n_per_shard:
            self._finish(split)

    def close(self) -> dict[Split, list[str]]:
        """Finishes what is unfinished; returns the shards by split."""
        for split in list(self._open):
            self._finish(split)
        return self.shards

    def _part(self, split: Split) -> Path:
        return self.root / "people" / f"{split}-{len(self.shards[split]):05d}.jsonl.part"

    def _finish(self, split: Split) -> None:
        unfinished = self._part(split)
        self._open.pop(split)[0].close()
        os.replace(unfinished, unfinished.with_suffix(""))
        self.shards[split].append(f"people/{unfinished.stem}")


def replace_text(path: Path, text: str) -> None:
    """Writes a text file so that the old or the new one is there, never half of one."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
