"""Pick-a-Pic's parquet files: one choice between two pictures a row, version 1 and 2 alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prefgen.history.collect.entries import Batch, Dropped, Entry, Seen, in_batches
from prefgen.history.collect.parquet import ParquetRow, described, parquet_files, rows_of

NEEDED = ("user_id", "caption", "jpg_0", "jpg_1", "label_0")
WISHED = ("label_1", "has_label", "created_at")


class PickAPic:
    """The choices in files or folders of Pick-a-Pic, in the order of their names and rows."""

    def __init__(self, paths: Sequence[Path], *, rows_at_once: int = 64) -> None:
        self.files = parquet_files(paths)
        self.rows_at_once = rows_at_once

    def describe(self) -> dict[str, object]:
        """The files, each with its size and number of rows."""
        return {"kind": "pick-a-pic", "files": described(self.files)}

    def batches(self, done: Mapping[str, int]) -> Iterator[Batch]:
        """The files' rows in batches; one file is open at a time."""
        for place, path in enumerate(self.files):
            part = f"{place}:{path.name}"
            n_done = done.get(part, 0)
            rows = rows_of(path, NEEDED, WISHED, self.rows_at_once, n_done)
            yield from in_batches(part, map(choice_of, rows), self.rows_at_once, n_done, skip=False)


def choice_of(row: ParquetRow) -> Entry | Dropped:
    """One row as a choice, or why it is none: `no_label`, `tie`, `bad_label`, `no_picture` or `no_user`."""
    verdict = verdict_of(row.get("label_0"), row.get("label_1"), row.get("has_label"))
    if isinstance(verdict, str):
        return Dropped(verdict)
    pictures = (row["jpg_0"], row["jpg_1"])
    if not all(isinstance(picture, bytes) and picture for picture in pictures):
        return Dropped("no_picture")
    user = user_of(row["user_id"])
    if user is None:
        return Dropped("no_user")
    cells = {"prompt": row["caption"], "time": _time(row.get("created_at"))}
    return Entry(
        user_id=user,
        is_choice=True,
        seen=(
            Seen(picture=pictures[0], side="like" if verdict else "dislike", **cells),
            Seen(picture=pictures[1], side="dislike" if verdict else "like", **cells),
        ),
    )


def verdict_of(label_0: object, label_1: object = None, has_label: object = True) -> bool | str:
    """Whether the first picture won, or why nobody can say."""
    shares = [None if label is None else _number(label) for label in (label_0, label_1)]
    if has_label is False or shares[0] is None:
        return "no_label"
    if shares[1] is not None and not math.isclose(shares[0] + shares[1], 1.0):
        return "bad_label"
    if shares[0] == 0.5:
        return "tie"
    return bool(shares[0]) if shares[0] in (0.0, 1.0) else "bad_label"


def user_of(value: object) -> str | None:
    """A user's name as text, or None where there is none: a number and its digits are one user."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text if 0 < len(text) <= 200 else None


def _number(value: object) -> float | None:
    """A label as a number; not-a-number is no label."""
    number = float(value) if isinstance(value, (int, float)) else math.nan
    return None if math.isnan(number) else number


def _time(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
