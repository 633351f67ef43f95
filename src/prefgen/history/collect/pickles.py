"""Pickled files are refused by name and by their first bytes: opening one runs whatever its maker wished."""

from __future__ import annotations

from pathlib import Path

from prefgen.core import DataError

SUFFIXES = frozenset({".pkl", ".pickle", ".p", ".pt", ".pth", ".joblib", ".dill", ".ckpt"})
HINT = 'docs/data.md, "Pickled side files", says how to turn it into JSON where it can do no harm'


def refuse_pickle(name: str, start: bytes = b"") -> None:
    """Refuses a file by its name or first bytes (protocol 2 and later begin with 0x80 and their number).

    Raises:
        DataError: names the file and the way out.
    """
    by_name = any(suffix.lower() in SUFFIXES for suffix in Path(name).suffixes[-2:])
    if by_name or (len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5):
        raise DataError(f"{name} is a pickled file, which can run any program when it is opened", hint=HINT)


def refuse_pickled_file(path: Path) -> None:
    """`refuse_pickle` for a file on disk.

    Raises:
        DataError: as `refuse_pickle`.
    """
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(2)
    refuse_pickle(str(path), start)
