"""What every source of people's opinions yields, and how it says where it stands, so that a killed run goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from prefgen.core import InputError, Side
from prefgen.history.items import parse_text, parse_time


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One picture and what was thought of it: the file's bytes as they are, and the raw prompt and time."""

    picture: bytes
    side: Side
    prompt: object = None
    time: object = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one row says of one user. Of a choice both pictures count or neither; else each stands for itself.

    `targets` are liked pictures kept apart from the history, `attributes` a user's taste in words, negative first.
    """

    user_id: str
    seen: tuple[Seen, ...]
    is_choice: bool = False
    targets: tuple[Seen, ...] = ()
    attributes: tuple[str, str] | None = None


@dataclass(frozen=True)
class Dropped:
    """A row that says nothing usable, and the reason under which it is counted."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows of one part (a file, a folder, a person), committed together; `n_done` rows of it are then behind."""

    part: str
    n_done: int
    entries: tuple[Entry | Dropped, ...] = field(repr=False)


class Source(Protocol):
    """Where opinions come from. The same source yields the same batches, whatever `done` leaves out."""

    def describe(self) -> dict[str, object]:
        """What it reads, as JSON: a run that goes on must be given the very same."""
        ...

    def batches(self, done: Mapping[str, int]) -> Iterator[Batch]:
        """The batches after `done` rows of each part."""
        ...


def usable_prompt(value: object) -> tuple[bool, str | None]:
    """Whether a raw prompt may stand, and the prompt: over-long texts and bytes that are not UTF-8 may not."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return False, None
    try:
        return True, parse_text(value, "prompt")
    except InputError:
        return False, None


def usable_time(value: object) -> float | None:
    """Unix seconds, or None where there is no time or none that can be read."""
    try:
        return parse_time(value)
    except InputError:
        return None


def in_batches(
    part: str, rows: Iterable[Entry | Dropped], n_at_once: int, n_done: int = 0, *, skip: bool = True
) -> Iterator[Batch]:
    """Rows of a part in batches of `n_at_once`; with `skip` the first `n_done` are passed over, else they are gone."""
    waiting: list[Entry | Dropped] = []
    n_seen = 0 if skip else n_done
    for row in rows:
        n_seen += 1
        if n_seen <= n_done:
            continue
        waiting.append(row)
        if len(waiting) == n_at_once:
            yield Batch(part=part, n_done=n_seen, entries=tuple(waiting))
            waiting = []
    if waiting:
        yield Batch(part=part, n_done=n_seen, entries=tuple(waiting))
