"""Histories from a JSONL or CSV manifest: a row is one opinion, or one choice between two pictures."""

from __future__ import annotations

import os
from pathlib import Path

from prefgen.core import DataError, History, HistoryItem, InputError, Side
from prefgen.history.conflicts import settle
from prefgen.history.inside import path_inside
from prefgen.history.items import item_from, parse_side
from prefgen.history.pictures import picture_name
from prefgen.history.tables import Row, naming, read_rows

_OPINION = ("image", "side")
_CHOICE = ("image_0", "image_1", "label", "label_0", "label_1")
_SHARED = ("prompt", "comment", "time", "weight", "aspect")
MANIFEST_COLUMNS = (*_OPINION, *_CHOICE, *_SHARED)
"""Every column a manifest may have."""

_SHARE_WORDS = {
    "1": 1.0,
    "1.0": 1.0,
    "true": 1.0,
    "0": 0.0,
    "0.0": 0.0,
    "false": 0.0,
    "0.5": 0.5,
    ".5": 0.5,
    "tie": 0.5,
}
_WINNER_WORDS = {"image_0": 1.0, "image_1": 0.0}


def history_from_manifest(
    path: str | os.PathLike[str], *, allow_outside: bool = False, longest_px: int | None = None
) -> History:
    """The opinions of a `.jsonl` or `.csv` file; its picture paths are relative to its folder.

    A row is one opinion, `image` and `side` (like, liked, 1, + …, dislike, 0, - …), or one choice as in Pick-a-Pic,
    `image_0`, `image_1` and `label_0` or `label` (1: image_0 won, 0: image_1 won, 0.5: a tie; `label` may also say
    image_0, image_1 or tie; `label_1` is the other way round). The winner is liked, the loser disliked.
    Optional everywhere: `prompt`, `comment` (of a choice: said of the winner), `time` (unix seconds or ISO 8601),
    `weight`, `aspect`.

    Of several opinions on one picture the latest stands, by time or, among choices, by row; a picture on both sides
    with neither is dropped. `History.n_dropped_conflicts` counts such pictures, and tied choices. `longest_px` keeps
    small copies only.

    Raises:
        DataError: the layout: not UTF-8, a broken row, an unknown or missing column; file and line are named.
        InputError: a value or picture that cannot be used, a path that leads out of the folder (unless
            `allow_outside`), or no picture at all.
    """
    manifest = Path(path)
    name = picture_name(manifest)
    items: list[HistoryItem] = []
    order: list[int] = []
    n_ties, has_choices = 0, False
    for line, row in read_rows(manifest, MANIFEST_COLUMNS):
        with naming(f"{name}, line {line}"):
            is_choice = _is_choice(row)
            said = _sides(row) if is_choice else _side(row)
            items += [_item(row, column, side, manifest.parent, allow_outside, longest_px) for column, side in said]
        order += [line] * len(said)
        n_ties += not said
        has_choices |= is_choice
    return settle(items, order=order if has_choices else None, n_dropped=n_ties, origin=name)


def _is_choice(row: Row) -> bool:
    kinds = {
        "opinion": [column for column in _OPINION if column in row],
        "choice": [column for column in _CHOICE if column in row],
    }
    if all(kinds.values()):
        raise DataError(f"a row has {kinds['opinion'][0]!r} or {kinds['choice'][0]!r}, not both")
    needed = ("image_0", "image_1") if kinds["choice"] else _OPINION
    missing = [column for column in needed if column not in row]
    if missing:
        raise DataError(f"no {missing[0]!r}", hint="a row needs image and side, or image_0, image_1 and label_0")
    return bool(kinds["choice"])


def _side(row: Row) -> list[tuple[str, Side]]:
    return [("image", parse_side(row["side"]))]


def _sides(row: Row) -> list[tuple[str, Side]]:
    """The liked and the disliked column of a choice, or nothing for a tie."""
    shares = {
        column: _share_of_image_0(column, row[column]) for column in ("label", "label_0", "label_1") if column in row
    }
    if not shares:
        raise DataError("no 'label_0'", hint="1: image_0 won, 0: image_1 won, 0.5: a tie")
    if len(set(shares.values())) > 1:
        raise InputError(f"{' and '.join(shares)} contradict each other")
    share = next(iter(shares.values()))
    if share == 0.5:
        return []
    return [("image_0", "like"), ("image_1", "dislike")] if share else [("image_0", "dislike"), ("image_1", "like")]


def _share_of_image_0(column: str, value: object) -> float:
    words = {**_SHARE_WORDS, **_WINNER_WORDS} if column == "label" else _SHARE_WORDS
    share = words.get(str(value).strip().lower())
    if share is None:
        raise InputError(f"expected 1, 0 or 0.5 as {column}, got {value!r}", hint="1: the picture won, 0.5: a tie")
    return 1.0 - share if column == "label_1" else share


def _item(row: Row, column: str, side: Side, root: Path, allow_outside: bool, longest_px: int | None) -> HistoryItem:
    text = row[column]
    if not isinstance(text, str):
        raise InputError(f"expected a path as {column}, got {type(text).__name__}")
    cells = {name: row.get(name) for name in _SHARED}
    if column != "image" and side == "dislike":
        cells["comment"] = None  # it says why the other one was chosen
    return item_from(path_inside(root, text, allow_outside=allow_outside), side, longest_px=longest_px, **cells)
