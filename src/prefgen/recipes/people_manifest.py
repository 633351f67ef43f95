"""Many people in one file: a row a person, `person`, `liked` and `disliked`, the latter two lists of picture paths.

JSONL, or Parquet (with the extra `ray`, which brings pyarrow). Paths are relative to the manifest's folder. Rows are
found by their place (a byte offset, a row's number), so that a piece of work names its rows in a few bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prefgen.core import ConfigError, DataError, History, InputError
from prefgen.history import history_from_items
from prefgen.history.inside import path_inside

COLUMNS = ("person", "liked", "disliked")
ROWS_AT_ONCE = 10_000
LONGEST_PX = 256


@dataclass(frozen=True, kw_only=True)
class PersonRow:
    """One row; paths as written."""

    person: str
    liked: tuple[str, ...]
    disliked: tuple[str, ...]

    def history(self, root: Path) -> History:
        """The pictures, small copies, read from below `root`.

        Raises:
            InputError: a picture is missing, cannot be read or lies outside; there is none.
        """
        sides = ([path_inside(root, text) for text in side] for side in (self.liked, self.disliked))
        liked, disliked = sides
        return history_from_items(liked, disliked, longest_px=LONGEST_PX)


def places(path: Path) -> Iterator[tuple[str, int]]:
    """Every person and the place of their row, one after another; the file is never held whole.

    Raises:
        InputError: there is no such file, or it is neither JSONL nor Parquet.
        DataError: a row without `person`.
    """
    if _is_parquet(path):
        yield from _parquet_places(path)
        return
    with path.open("rb") as file:
        start = 0
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parsed(line, f"{path.name}, line {number}").person, start
            start += len(line)


def rows_at(path: Path, wanted: Sequence[int]) -> list[PersonRow]:
    """The rows at some places, in the order of the file."""
    if _is_parquet(path):
        return _parquet_rows(path, sorted(wanted))
    with path.open("rb") as file:
        found = []
        for start in sorted(wanted):
            file.seek(start)
            found.append(_parsed(file.readline(), f"{path.name}, byte {start}"))
        return found


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        raise InputError(f"the manifest {path.name} does not exist", hint="check the path")
    if path.suffix in (".jsonl", ".ndjson"):
        return False
    if path.suffix != ".parquet":
        raise InputError(f"{path.name} is neither .jsonl nor .parquet", hint="a manifest of people is named so")
    if not find_spec("pyarrow"):
        hint = "pip install 'prefgen[data]'"
        raise ConfigError("a Parquet manifest needs pyarrow, which is not installed", hint=hint)
    return True


def _parsed(line: bytes, where: str) -> PersonRow:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not a row of JSON") from error
    return _row(row, where)


def _row(row: Any, where: str) -> PersonRow:
    person = row.get("person") if isinstance(row, dict) else None
    if not isinstance(person, str) or not person:
        raise DataError(f"{where}: expected a person's name as `person`", hint=f"a row has {', '.join(COLUMNS)}")
    sides: dict[str, tuple[str, ...]] = {}
    for side in ("liked", "disliked"):
        value = row.get(side) or []
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise DataError(f"{where}: expected a list of paths as `{side}`")
        sides[side] = tuple(value)
    return PersonRow(person=person, **sides)


def _parquet_places(path: Path) -> Iterator[tuple[str, int]]:
    import pyarrow.parquet as parquet

    row = 0
    for batch in parquet.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=["person"]):
        for person in batch.column(0).to_pylist():
            if not person:
                raise DataError(f"{path.name}, row {row}: expected a person's name as `person`")
            yield str(person), row
            row += 1


def _parquet_rows(path: Path, wanted: Sequence[int]) -> list[PersonRow]:
    import pyarrow.parquet as parquet

    file, found, start = parquet.ParquetFile(path), [], 0
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        inside = [place - start for place in wanted if start <= place < stop]
        if inside:
            table = file.read_row_group(group, columns=list(COLUMNS)).take(inside)
            found += [_row(row, f"{path.name}, row {start + k}") for k, row in zip(inside, table.to_pylist())]
        start = stop
    return found
