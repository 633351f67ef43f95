"""Words that a small generator was never taught, and the nearest ones that it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_FUNCTION_WORDS = frozenset(
    ("a", "an", "the", "and", "or", "of", "in", "on", "at", "by", "with", "to", "from", "for", "is", "are", "its")
)


class UnknownWord(NamedTuple):
    """A word of a prompt that the model was never taught, and up to two known ones that are written most alike."""

    word: str
    nearest: tuple[str, ...]


def unknown_words(texts: str | Iterable[str], known: Sequence[str]) -> list[UnknownWord]:
    """Every unknown word once, in order. `known` are words and phrases; an empty list knows everything.

    >>> unknown_words("a foxx by a lake", ["fox", "by a lake"])
    [UnknownWord(word='foxx', nearest=('fox',))]
    """
    if not known:
        return []
    taught = {part for phrase in known for part in _words_of(phrase)} | _FUNCTION_WORDS
    found = {word: None for text in ([texts] if isinstance(texts, str) else texts) for word in _words_of(text)}
    candidates = sorted({phrase.lower() for phrase in known})
    return [
        UnknownWord(word, tuple(get_close_matches(word, candidates, n=2, cutoff=0.5)))
        for word in found
        if word not in taught and not _is_plural(word, taught)
    ]


def warning_of(unknown: UnknownWord) -> str:
    """One line for a person."""
    nearest = " or ".join(repr(word) for word in unknown.nearest)
    ending = f"the nearest known: {nearest}" if nearest else "no known word is near (see `prefgen info --words`)"
    return f"the model was never taught {unknown.word!r}; {ending}"


def _words_of(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _is_plural(word: str, taught: Iterable[str]) -> bool:
    return word.endswith("s") and word[:-1] in taught
