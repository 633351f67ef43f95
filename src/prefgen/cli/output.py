"""Data to stdout, logs to stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from typing import Any


def emit(data: Any, *, as_json: bool, lines: Iterable[str]) -> None:
    """Prints `data` as one JSON value, or `lines` for a person."""
    if as_json:
        text = json.dumps(data, ensure_ascii=False)
        print(text if text.isascii() or _can_print(text) else json.dumps(data))
    else:
        for line in lines:
            print(line if _can_print(line) else line.encode("ascii", "backslashreplace").decode())
    sys.stdout.flush()


def _can_print(text: str) -> bool:
    """Whether the terminal can show it: a file name may hold bytes that no encoding knows."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def note(message: str) -> None:
    """A line for the person at the terminal."""
    print(message, file=sys.stderr, flush=True)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr, flush=True)


def log_to_stderr() -> None:
    """Shows the package's warnings as `warning: …` lines."""
    log = logging.getLogger("prefgen")
    log.handlers = [_Lines()]
    log.propagate = False
