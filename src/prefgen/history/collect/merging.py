"""The paper's merge: one user's rows become a liked and a disliked set, and every row that does not is counted.

A pair judged both ways is dropped whole; a picture on both sides is settled as everywhere in this package
(`prefgen.history.conflicts`): the latest opinion stands where all have a time, else the picture is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from prefgen.core import HistoryItem, InputError, Side
from prefgen.history.collect.index import Opinion
from prefgen.history.conflicts import settle

_NOTHING = Image.new("RGB", (1, 1))


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A user's sets: manifest rows in the order met, targets apart, and the numbers of the pictures they show."""

    rows: tuple[dict[str, object], ...]
    targets: tuple[dict[str, object], ...]
    pictures: frozenset[int]
    counts: Counter[str]

    def n_on(self, side: Side) -> int:
        """How many pictures stand on a side."""
        return sum(row["side"] == side for row in self.rows)


def merged(opinions: Sequence[Opinion]) -> Merged:
    """The sets of one user's opinions, which are in the order met."""
    counts = Counter({"opinions": len(opinions)})
    contradicted = _pairs_judged_both_ways(opinions)
    items: list[HistoryItem] = []
    targets: dict[str, dict[str, object]] = {}
    numbers: dict[str, int] = {}
    for _, picture, rival, role, prompt, time_s, pixels, path in opinions:
        if rival is not None and _pair(picture, rival) in contradicted:
            counts["opinions of pairs judged both ways"] += 1
            continue
        numbers[path] = picture
        if role == "target":
            targets.setdefault(path, _row(path, None, prompt, time_s))
        else:
            side: Side = "like" if role == "like" else "dislike"
            items.append(
                HistoryItem(image=_NOTHING, side=side, prompt=prompt, time_s=time_s, sha256=pixels, source=path)
            )
    rows = _settled([item for item in items if item.source not in targets], counts)
    counts["opinions on targets"] = sum(item.source in targets for item in items)
    shown = frozenset(numbers[str(row["image"])] for row in (*rows, *targets.values()))
    return Merged(rows=rows, targets=tuple(targets.values()), pictures=shown, counts=counts)


def _settled(items: list[HistoryItem], counts: Counter[str]) -> tuple[dict[str, object], ...]:
    try:
        history = settle(items)
    except InputError:  # nothing is left
        counts["pictures liked and disliked"] += len({item.sha256 for item in items})
        return ()
    counts["pictures liked and disliked"] += history.n_dropped_conflicts
    counts["repeated opinions"] += len(items) - len(history) - history.n_dropped_conflicts
    return tuple(_row(item.source, item.side, item.prompt, item.time_s) for item in history.items)


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def _pairs_judged_both_ways(opinions: Sequence[Opinion]) -> set[tuple[int, int]]:
    winners: dict[tuple[int, int], set[int]] = {}
    for _, picture, rival, role, *_ in opinions:
        if rival is not None and role == "like":
            winners.setdefault(_pair(picture, rival), set()).add(picture)
    return {pair for pair, won in winners.items() if len(won) > 1}


def _row(path: str | None, side: Side | None, prompt: str | None, time_s: float | None) -> dict[str, object]:
    """A row of this project's manifest, absent cells left out."""
    cells = {"image": path, "side": side, "prompt": prompt, "time": time_s}
    return {name: value for name, value in cells.items() if value is not None}
