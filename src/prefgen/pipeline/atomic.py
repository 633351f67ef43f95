"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, data: bytes, *, private: bool = False) -> None:
    """Writes `data` to a file of its own beside `path` and puts it in its place: readers and other writers see the old
    file or the new one, never a part. A file that was there keeps its permissions; a new `private` one is its owner's
    alone.

    Raises `OSError`, and leaves nothing behind then.
    """
    with _part_of(path, data, private=private) as part:
        if path.exists():
            os.chmod(part, path.stat().st_mode & 0o777)
        os.replace(part, path)


def write_new(path: Path, data: bytes) -> bool:
    """As `write_whole`, but a file that has the name, now or by the time it is written, stays. Returns whether it is
    ours."""
    if path.exists():
        return False
    with _part_of(path, data, private=False) as part:
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links: the last moment to look
            if path.exists():
                return False
            os.replace(part, path)
    return True


@contextmanager
def _part_of(path: Path, data: bytes, *, private: bool) -> Iterator[Path]:
    """A whole file beside `path`, gone at the end unless it was moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)
