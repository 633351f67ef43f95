"""A taste in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prefgen.pipeline.word_edits import WordEdits


@dataclass(frozen=True, kw_only=True)
class Word:
    """One attribute: `weight` in [0, 1] is how much it matters to the person, `confidence` how sure the model is.

    `said` is True where the person said it themselves.
    """

    word: str
    weight: float
    confidence: float
    said: bool = False


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What was understood of a person, in words; strongest first."""

    likes: tuple[Word, ...]
    dislikes: tuple[Word, ...]

    def in_words(self, n_words: int = 6) -> str:
        """One sentence a side."""
        sides = (("likes", self.likes), ("dislikes", self.dislikes))
        lines = [f"{side} {', '.join(w.word for w in words[:n_words])}" for side, words in sides if words]
        return "; ".join(lines) if lines else "nothing that has a word"

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Plain lists."""
        return {"likes": [asdict(w) for w in self.likes], "dislikes": [asdict(w) for w in self.dislikes]}


def explanation(found: Mapping[str, Sequence[tuple[str, float, float]]], edits: WordEdits) -> Explanation:
    """What the preference model found, with the person's own words first and what they unsaid left out."""
    said = {*edits.like, *edits.dislike, *edits.forget}
    sides: dict[str, tuple[Word, ...]] = {}
    for name, own in (("likes", edits.like), ("dislikes", edits.dislike)):
        rest = [(word, weight, sure) for word, weight, sure in found.get(name, ()) if word.lower() not in said]
        rest.sort(key=lambda entry: -entry[1])
        sides[name] = tuple(Word(word=word, weight=1.0, confidence=1.0, said=True) for word in own) + tuple(
            Word(word=word, weight=float(weight), confidence=float(sure)) for word, weight, sure in rest
        )
    return Explanation(**sides)
