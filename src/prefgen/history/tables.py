"""Rows of a JSONL or CSV file with their line numbers; every complaint about the layout names file and line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefgen.core import DataError, InputError, PrefGenError, nearest_hint
from prefgen.history.pictures import picture_name

Row = dict[str, object]


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Puts `where` before the message of any of our errors raised inside."""
    try:
        yield
    except PrefGenError as error:
        raise type(error)(f"{where}: {error.message}", hint=error.hint) from error


def read_rows(path: Path, known: Collection[str]) -> Iterator[tuple[int, Row]]:
    """The line number and the filled cells of every row; blank lines and rows are passed over, a BOM is no text.

    CSV may be separated by comma, semicolon or tab, whichever its header holds most of.

    Raises:
        InputError: the file is missing, or neither JSONL nor CSV by its name.
        DataError: text that is not UTF-8, a broken row, or a column not among `known`.
    """
    name, suffix = picture_name(path), path.suffix.lower()
    parse = {".jsonl": _json_rows, ".ndjson": _json_rows, ".csv": _csv_rows, ".tsv": _csv_rows}.get(suffix)
    if parse is None:
        raise InputError(f"{name} is neither .jsonl nor .csv", hint="a manifest is JSONL or CSV, named so")
    for line, row in parse(read_text(path), name):
        with naming(f"{name}, line {line}"):
            check_known(row, known)
        filled = {key: value for key, value in row.items() if value is not None and value != ""}
        if filled:
            yield line, filled


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, a BOM removed.

    Raises:
        InputError: the file is missing or cannot be read.
        DataError: it is not UTF-8.
    """
    name = picture_name(path)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text", hint="save it as UTF-8 (in Excel: CSV UTF-8)") from error
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist", hint="check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def parse_json(text: str) -> object:
    """The JSON value; a key given twice is refused, because one of the two would be lost.

    Raises:
        DataError: it is not valid JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON: {str(error).splitlines()[0]}") from error


def check_known(columns: Iterable[str], known: Collection[str]) -> None:
    """Refuses columns nobody reads.

    Raises:
        DataError: names the unknown column and, in the hint, the nearest known one.
    """
    for column in columns:
        if column not in known:
            hint = nearest_hint(column, known) or f"known: {', '.join(sorted(known))}"
            raise DataError(f"unknown column {column!r}", hint=hint)


def _json_rows(text: str, name: str) -> Iterator[tuple[int, Row]]:
    for line, row_text in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 may stand inside a string
        if not row_text.strip():
            continue
        with naming(f"{name}, line {line}"):
            row = parse_json(row_text)
            if not isinstance(row, dict):
                raise DataError(
                    f"expected a JSON object, got {type(row).__name__}", hint="JSONL: one object on each line"
                )
        yield line, row


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, Row]]:
    header_line = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=header_line.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    header: list[str] | None = None
    for line, cells in _numbered(rows, name):
        if not any(cell.strip() for cell in cells):
            continue
        with naming(f"{name}, line {line}"):
            if header is None:
                header = _checked_header(cells)
                continue
            if len(cells) > len(header):
                raise DataError(
                    f"{len(cells)} cells under {len(header)} columns",
                    hint="put quotes around text that holds the separator",
                )
        yield line, {column: cell.strip() for column, cell in zip(header, cells)}


def _numbered(rows: Iterable[list[str]], name: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line it ends on."""
    iterator, line = iter(rows), 0
    while True:
        try:
            cells = next(iterator, None)
        except csv.Error as error:
            raise DataError(f"{name}, line {getattr(rows, 'line_num', line + 1)}: broken CSV: {error}") from error
        if cells is None:
            return
        line = getattr(rows, "line_num", line + 1)
        yield line, cells


def _checked_header(cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    twice = [column for column in header if header.count(column) > 1]
    if twice:
        raise DataError(f"the column {twice[0]!r} stands twice in the header")
    return header


def _unique_keys(pairs: list[tuple[str, object]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return row
