"""What all ways have in common: a person who was read once, and is heard while one call paints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from PIL import Image

from prefgen.core import History, HistoryItem

READ_PX = {"words": 512, "ip-adapter": 512, "fabric": 1024}
"""Longest side of a picture that a way reads: encoders look at no more, FABRIC at SDXL's own side."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What one call of a pipeline is asked for: a prompt for each picture, and how strongly each side is heard.

    `guided` is whether guidance has an unconditional branch; without it dislikes are silent.
    """

    prompts: tuple[str, ...]
    negative: tuple[str, ...] | None
    like_strength: float
    dislike_strength: float
    guided: bool

    def plain(self) -> dict[str, Any]:
        """The arguments of the plain pipeline."""
        negative = None if self.negative is None else list(self.negative)
        return {"prompt": list(self.prompts), "negative_prompt": negative}


class UntrainedPerson(Protocol):
    """A taste as one way hears it. `digest` is a name for all that was read; `told` goes into picture files."""

    way: ClassVar[str]
    like_strength: ClassVar[float]
    dislike_strength: ClassVar[float]
    guidance_scale: ClassVar[float | None]
    """Defaults; a guidance of None is the pipeline's own."""

    @property
    def digest(self) -> str:
        """Sha256 (hex)."""
        ...

    @property
    def has_dislikes(self) -> bool:
        """Whether anything is disliked."""
        ...

    @property
    def told(self) -> dict[str, object]:
        """What a picture file tells of the person beside the digest."""
        ...

    def heard(self, pipe: Any, ask: Ask) -> AbstractContextManager[dict[str, Any]]:
        """While open, the person is heard by a call of `pipe` with the arguments it yields; afterwards `pipe` is as
        before. Strengths of 0 give the plain pipeline's arguments and change nothing."""
        ...


def digest_of(way: str, parts: Iterable[object]) -> str:
    """Sha256 (hex) of a way's name and of printable parts."""
    return hashlib.sha256("\x1f".join((way, *map(str, parts))).encode()).hexdigest()


def names_of(history: History) -> list[str]:
    """Every picture of a history with its side and weight, for `digest_of`."""
    return [f"{item.side} {item.sha256} {item.weight:g}" for item in history.items]


def spread(items: Sequence[HistoryItem], n_most: int) -> list[HistoryItem]:
    """At most `n_most` of them, evenly over all."""
    n = min(len(items), n_most)
    return [items[i * len(items) // n] for i in range(n)]


def images_of(items: Sequence[HistoryItem]) -> list[Image.Image]:
    """Their pictures."""
    return [item.image for item in items]
