"""The predecessor's frames: a history of references and one choice a row, as parquet or JSON lines.

`user_id, reference_list, reference_list_bad, reference_prompt_list, image0, image1, prompt, label0`. Pictures are
bytes, structs with `bytes`, or paths inside `images`. The pickled frames of old scripts are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from prefgen.core import DataError, InputError, Side
from prefgen.history.collect.entries import Batch, Dropped, Entry, Seen, in_batches
from prefgen.history.collect.parquet import described, rows_of
from prefgen.history.collect.pick_a_pic import user_of, verdict_of
from prefgen.history.collect.pickles import refuse_pickled_file
from prefgen.history.collect.release import picture_bytes
from prefgen.history.pictures import picture_name
from prefgen.history.tables import naming, parse_json

NEEDED = ("user_id", "reference_list", "reference_list_bad")
WISHED = ("reference_prompt_list", "image0", "image1", "prompt", "label0")
_MAX_LINE_BYTES = 256 << 20


class Frames:
    """Frames in the order given. A row gives its references and, unless `queries` is False, its choice."""

    def __init__(self, files: list[Path], images: Path | None = None, *, queries: bool = True) -> None:
        for path in files:
            refuse_pickled_file(path)
            if not path.is_file():
                raise InputError(f"{picture_name(path)} is no file", hint="give .parquet or .jsonl files")
            if path.suffix.lower() not in (".parquet", ".jsonl"):
                raise InputError(f"{picture_name(path)} is neither .parquet nor .jsonl")
        self.files, self.images, self.queries = files, images, queries

    def describe(self) -> dict[str, object]:
        """The files, and whether choices count."""
        tables = [path for path in self.files if path.suffix.lower() == ".parquet"]
        lines = [[path.name, path.stat().st_size] for path in self.files if path not in tables]
        return {"kind": "frames", "files": [*described(tables), *lines], "queries": self.queries}

    def batches(self, done: Mapping[str, int]) -> Iterator[Batch]:
        """A batch a row and its choice: a row's references may be many."""
        for place, path in enumerate(self.files):
            part = f"{place}:{path.name}"
            n_done = done.get(part, 0)
            rows = self._rows(path)
            entries = (
                entry for index, row in enumerate(rows) for entry in self._entries(row, f"{path.name}, row {index}")
            )
            yield from in_batches(part, entries, 2, n_done)

    def _rows(self, path: Path) -> Iterator[Mapping[str, Any]]:
        if path.suffix.lower() == ".parquet":
            yield from rows_of(path, NEEDED, WISHED, 1, 0)
            return
        with path.open("rb") as file:
            for line, data in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), start=1):
                with naming(f"{path.name}, line {line}"):
                    yield _json_row(data)

    def _entries(self, row: Mapping[str, Any], where: str) -> Iterator[Entry | Dropped]:
        with naming(where):
            user = user_of(row["user_id"])
            if user is None:
                yield Dropped("no_user")
                return
            liked, disliked = (_listed(row[key], key) for key in ("reference_list", "reference_list_bad"))
            prompts = _listed(row.get("reference_prompt_list") or [], "reference_prompt_list")
            sides: tuple[tuple[list, Side], ...] = ((liked, "like"), (disliked, "dislike"))
            if prompts and not len(prompts) == max(len(liked), len(disliked)):
                raise DataError(f"{len(prompts)} prompts for {len(liked)} liked and {len(disliked)} disliked pictures")
            seen = [
                Seen(picture=self._bytes(picture), side=side, prompt=prompt)
                for pictures, side in sides
                for picture, prompt in zip_longest(pictures, prompts[: len(pictures)])
            ]
            yield Entry(user_id=user, seen=tuple(seen))
            if self.queries and row.get("image0") is not None and row.get("image1") is not None:
                yield self._choice(row, user)

    def _choice(self, row: Mapping[str, Any], user: str) -> Entry | Dropped:
        verdict = verdict_of(row.get("label0"))
        if isinstance(verdict, str):
            return Dropped(verdict)
        sides: tuple[Side, Side] = ("like", "dislike") if verdict else ("dislike", "like")
        seen = [
            Seen(picture=self._bytes(row[key]), side=side, prompt=row.get("prompt"))
            for key, side in zip(("image0", "image1"), sides)
        ]
        return Entry(user_id=user, is_choice=True, seen=tuple(seen))

    def _bytes(self, picture: object) -> bytes:
        """A picture's file. Texts of parquet come as bytes too, so with `images` bytes that are a path are one."""
        text = picture if isinstance(picture, str) else None
        if isinstance(picture, bytes) and self.images is not None and len(picture) < 1000 and b"\0" not in picture:
            text = picture.decode("utf-8", "surrogateescape")
        if text is None:
            return picture if isinstance(picture, bytes) else b""
        if self.images is None:
            raise InputError(f"a picture is the path {text[:80]!r}", hint="say with --images where paths start")
        return picture_bytes(self.images, text)


def _json_row(data: bytes) -> dict[str, Any]:
    try:
        row = parse_json(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text") from error
    missing = [key for key in NEEDED if not isinstance(row, dict) or key not in row]
    if missing or not isinstance(row, dict):
        raise DataError(f"no {missing[0]!r}", hint=f"a frame has {', '.join((*NEEDED, *WISHED))}")
    return row


def _listed(value: object, name: str) -> list:
    if not isinstance(value, (list, tuple)):
        raise DataError(f"expected a list as {name!r}, got {type(value).__name__}")
    return list(value)
