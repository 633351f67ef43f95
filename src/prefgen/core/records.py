"""The frozen records that pass between rooms."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

Side = Literal["like", "dislike"]
Aspect = Literal["all", "colours", "subject", "style", "composition"]
ASPECTS: tuple[Aspect, ...] = ("all", "colours", "subject", "style", "composition")


def content_hash(image: Image.Image) -> str:
    """Sha256 (hex) of a picture's mode, size and RGB bytes: its identity inside a history."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"RGB {rgb.size} ".encode() + rgb.tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class HistoryItem:
    """One picture a person liked or disliked.

    `weight` is relative (1 = ordinary, 2 = counts double), `time_s` is unix seconds or None, `aspect` says which part
    of the picture the opinion is about, `source` is where it came from (for messages only; never stored or sent).
    """

    image: Image.Image = field(repr=False, compare=False)
    side: Side
    prompt: str | None = None
    comment: str | None = None
    time_s: float | None = None
    weight: float = 1.0
    aspect: Aspect = "all"
    sha256: str = ""
    source: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.sha256:
            object.__setattr__(self, "sha256", content_hash(self.image))


@dataclass(frozen=True, kw_only=True)
class History:
    """An ordered taste: what a person liked and disliked. One picture on either side is enough."""

    items: tuple[HistoryItem, ...]
    n_dropped_conflicts: int = 0

    @property
    def liked(self) -> tuple[HistoryItem, ...]:
        """The liked items, in order."""
        return tuple(item for item in self.items if item.side == "like")

    @property
    def disliked(self) -> tuple[HistoryItem, ...]:
        """The disliked items, in order."""
        return tuple(item for item in self.items if item.side == "dislike")

    def __len__(self) -> int:
        return len(self.items)
