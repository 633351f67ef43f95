"""Parquet row by row: only the columns asked for, a few rows at a time, cells as bytes, texts and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefgen.core import DataError, InputError
from prefgen.history.pictures import picture_name

if TYPE_CHECKING:
    import pyarrow.parquet as pq

EXTRA = "pip install 'prefgen[data]'"
_PAGE_BYTES = 1 << 20
ParquetRow = Mapping[str, Any]


def parquet_files(paths: Sequence[Path]) -> list[Path]:
    """The files given, a folder standing for its `.parquet` files by name.

    Raises:
        InputError: a path does not exist, or there is no parquet file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{picture_name(path)} does not exist", hint="check the path")
        found += sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not found:
        raise InputError(f"no .parquet file in {', '.join(picture_name(path) for path in paths)}")
    return found


def described(files: Sequence[Path]) -> list[list[object]]:
    """Name, size in bytes and number of rows of every file: what tells whether a run goes on with the same ones.

    Raises:
        InputError, DataError: as `open_parquet`.
    """
    told: list[list[object]] = []
    for path in files:
        with open_parquet(path) as file:
            told.append([path.name, path.stat().st_size, file.metadata.num_rows])
    return told


def open_parquet(path: Path) -> pq.ParquetFile:
    """The file, its footer read; pages are read as they are needed.

    Raises:
        InputError: pyarrow is not installed, or the file cannot be read.
        DataError: it is cut short or no parquet file.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError("reading parquet needs pyarrow", hint=EXTRA) from error
    try:
        return pq.ParquetFile(path, buffer_size=_PAGE_BYTES, pre_buffer=False)
    except Exception as error:  # pyarrow has many, and hostile footers raise nearly anything
        raise _damaged(path, error) from error


def rows_of(
    path: Path, needed: Sequence[str], wished: Sequence[str], n_at_once: int, n_done: int
) -> Iterator[ParquetRow]:
    """The rows after the first `n_done`, with the needed columns and those of the wished that are there.

    Texts come as bytes, since nothing promises that they are UTF-8. Whole row groups are skipped unread.

    Raises:
        InputError, DataError: as `open_parquet`; a needed column is missing; the data are damaged.
    """
    with open_parquet(path) as file:
        there = file.schema_arrow.names
        missing = [column for column in needed if column not in there]
        if missing:
            raise DataError(f"{picture_name(path)} has no column {missing[0]!r}", hint=f"it has {', '.join(there)}")
        columns = [column for column in (*needed, *wished) if column in there]
        groups, n_skipped = _groups_after(file, n_done)
        if not groups:
            return
        try:
            batches = file.iter_batches(n_at_once, row_groups=groups, columns=columns, use_threads=False)
            for batch in batches:
                n_passed = min(batch.num_rows, n_done - n_skipped)
                n_skipped += n_passed
                for place in range(n_passed, batch.num_rows):
                    yield {name: _cell(batch.column(name), place) for name in columns}
        except Exception as error:  # a broken page, an unknown codec, a wrong length
            raise _damaged(path, error) from error


def _groups_after(file: pq.ParquetFile, n_done: int) -> tuple[list[int], int]:
    """The row groups that hold rows after `n_done`, and how many rows lie before the first of them."""
    n_before = 0
    for group in range(file.num_row_groups):
        n_rows = file.metadata.row_group(group).num_rows
        if n_before + n_rows > n_done:
            return list(range(group, file.num_row_groups)), n_before
        n_before += n_rows
    return [], n_before


def _cell(column: Any, place: int) -> Any:
    """A cell as a plain value. A picture may be a struct with `bytes`, as datasets stores it."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())[place].as_py()
    if pa.types.is_timestamp(kind):
        return _moment(column[place], kind)
    if pa.types.is_struct(kind) and "bytes" in [field.name for field in kind]:
        return _cell(column.field("bytes"), place) if column[place].is_valid else None
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        values = column[place].values
        return None if values is None else [_cell(values, other) for other in range(len(values))]
    return column[place].as_py()


def _moment(value: Any, kind: Any) -> datetime | float | None:
    if not value.is_valid:
        return None
    return value.value / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]


def _damaged(path: Path, error: Exception) -> Exception:
    name = picture_name(path)
    if isinstance(error, OSError) and not type(error).__module__.startswith("pyarrow") and error.errno:
        return InputError(f"{name} cannot be read: {error.strerror}")
    told = (str(error) or type(error).__name__).splitlines()[0]
    return DataError(f"{name} is damaged or cut short: {told}", hint="download it again, or leave it out")
