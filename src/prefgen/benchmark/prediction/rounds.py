"""Rounds of questions that were answered before: a run of hours goes on where it stopped."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefgen.benchmark.results import Row

Answered = tuple[list[Row], list[dict[str, Any]]]
"""A round's rows, and each person's share of right choices."""


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """A folder of rounds by a run that asked what `asked` says; another run's are left alone until written over."""

    folder: Path
    asked: str

    def known(self, people: str, k: int) -> Answered | None:
        """A round that was kept; None where there is none of this run's."""
        path = self._path(people, k)
        told = json.loads(path.read_text()) if path.exists() else {}
        if told.get("asked") != self.asked:
            return None
        return [_row(one) for one in told["rows"]], told["per_person"]

    def keep(self, people: str, k: int, answered: Answered) -> None:
        """Writes a round."""
        rows, per_person = answered
        told = {"asked": self.asked, "rows": [r.to_json() for r in rows], "per_person": per_person}
        path = self._path(people, k)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(told))
        os.replace(part, path)

    def _path(self, people: str, k: int) -> Path:
        return self.folder / f"{people}.{k}.json"


def _row(told: dict[str, Any]) -> Row:
    figures: dict[str, Any] = {name: math.nan if value == "n/a" else value for name, value in told.items()}
    return Row(**figures)
