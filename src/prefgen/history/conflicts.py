"""From opinions to a history: the same picture is kept once, and a picture on both sides is settled or refused."""

from __future__ import annotations

from collections.abc import Sequence

from prefgen.core import ConflictError, History, HistoryItem, InputError


def settle(
    items: Sequence[HistoryItem],
    *,
    order: Sequence[int] | None = None,
    n_dropped: int = 0,
    origin: str = "the history",
) -> History:
    """A history in the given order, each picture (by content) once.

    Of several opinions on one picture the latest stands: by time where all of them have one, else by `order` (the row
    of a pairwise source; within equal times too). Without either, or when the latest opinions are simultaneous,
    opinions of one side collapse to the first, and a picture on both sides is dropped and counted.
    `n_dropped` adds what the source has already dropped (ties).

    Raises:
        InputError: no picture is left.
    """
    groups: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        groups.setdefault(item.sha256, []).append(position)
    standing = [_standing(items, positions, order) for positions in groups.values()]
    kept = sorted(position for position in standing if position is not None)
    n_dropped += standing.count(None)
    if not kept:
        dropped = f" ({n_dropped} dropped as ties or conflicts)" if n_dropped else ""
        raise InputError(f"{origin} has no picture{dropped}", hint="give at least one liked or disliked picture")
    return History(items=tuple(items[position] for position in kept), n_dropped_conflicts=n_dropped)


def refuse_conflicts(items: Sequence[HistoryItem]) -> None:
    """For sources that know no time: the same picture on both sides is a mistake of the person's.

    Raises:
        ConflictError: names both files.
    """
    first: dict[str, HistoryItem] = {}
    for item in items:
        other = first.setdefault(item.sha256, item)
        if other.side != item.side:
            liked, disliked = (other, item) if other.side == "like" else (item, other)
            raise ConflictError(
                f"the same picture is liked ({liked.source}) and disliked ({disliked.source})",
                hint="remove one of the two",
            )


def _standing(items: Sequence[HistoryItem], positions: list[int], order: Sequence[int] | None) -> int | None:
    """Which of the opinions on one picture stands: its position, or None where they contradict each other."""
    ranks = [_rank(items, position, positions, order) for position in positions]
    latest = [position for position, rank in zip(positions, ranks) if rank == max(ranks)]
    return latest[0] if len({items[position].side for position in latest}) == 1 else None


def _rank(
    items: Sequence[HistoryItem], position: int, positions: list[int], order: Sequence[int] | None
) -> tuple[float, int]:
    times = [items[other].time_s for other in positions]
    time_s = items[position].time_s
    timed = time_s is not None and None not in times
    return (time_s if timed and time_s is not None else 0.0, order[position] if order is not None else 0)
