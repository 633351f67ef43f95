"""The words around the pictures: how a history, its notes and a question are told, the same in training and in use.

A text is a list of parts: strings and pictures in order. A picture is whatever the caller holds (a PIL image, a row
of cached features); this file only puts it in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefgen.core import Aspect, History, HistoryItem, Side

Parts = list[Any]
"""Strings and pictures, in order."""

DAY_S = 86_400.0
MOST_TOLD, MOST_LETTERS = 100, 300
"""Most pictures a side, and letters a prompt or comment, that are told to a model."""
MOST_LETTERS_IN_ALL = 6_000
"""Letters of prompts and comments of a whole history that are told: a long one keeps its newest pictures' texts."""
LIKES_QUESTION = " What does this user like?"
DISLIKES_QUESTION = " What does this user dislike?"
ASPECT_WORDS: dict[Aspect, str] = {
    "all": "",
    "colours": "only the colours",
    "subject": "only the subject",
    "style": "only the style",
    "composition": "only the composition",
}
SIDE_WORDS: dict[Side, str] = {"like": " I like", "dislike": " I dislike"}
NOTHING_SHOWN = "I have not shown any images."


@dataclass(frozen=True, kw_only=True)
class Told:
    """One picture of a history as it is told to the model. `age_days` counts back from the newest picture."""

    picture: Any
    side: Side
    prompt: str | None = None
    comment: str | None = None
    weight: float = 1.0
    age_days: float | None = None
    aspect: Aspect = "all"


def told_from(history: History) -> list[Told]:
    """The history's items in order, ages measured from its newest item. The history itself is not touched.

    A model reads the last `MOST_TOLD` pictures of each side, `MOST_LETTERS` of a text and `MOST_LETTERS_IN_ALL` of all
    texts, comments before prompts: what is longer would cost it minutes and lie beyond anything it was trained on.
    """
    times = [item.time_s for item in history.items if item.time_s is not None]
    newest = max(times, default=0.0)
    kept = {id(item) for side in (history.liked, history.disliked) for item in side[-MOST_TOLD:]}
    texts = _texts_of([item for item in history.items if id(item) in kept])
    return [
        Told(
            picture=item.image,
            side=item.side,
            prompt=texts[id(item)]["prompt"],
            comment=texts[id(item)]["comment"],
            weight=item.weight,
            age_days=None if item.time_s is None else (newest - item.time_s) / DAY_S,
            aspect=item.aspect,
        )
        for item in history.items
        if id(item) in kept
    ]


def _texts_of(items: Sequence[HistoryItem]) -> dict[int, dict[str, str | None]]:
    """Each item's shortened comment and prompt, by its id; None where the budget is spent, the oldest item's first."""
    left, told = MOST_LETTERS_IN_ALL, {id(item): dict[str, str | None](prompt=None, comment=None) for item in items}
    for name in ("comment", "prompt"):
        for item in reversed(items):
            text = _short(getattr(item, name))
            if text is not None and len(text) <= left:
                left -= len(text)
                told[id(item)][name] = text
    return told


def _short(text: str | None) -> str | None:
    if text is None or len(text) <= MOST_LETTERS:
        return text
    return text[:MOST_LETTERS].rsplit(None, 1)[0]


def weight_words(weight: float) -> str:
    """A relative weight in words; between 2/3 and 3/2 it goes unmentioned."""
    if weight >= 2.5:
        return "very much"
    if weight > 1.5:
        return "quite a lot"
    if weight <= 0.35:
        return "hardly"
    return "a little" if weight < 0.67 else ""


def age_words(age_days: float | None) -> str:
    """An age in words; the last four months, and pictures without a time, go unmentioned."""
    if age_days is None or age_days < 120:
        return ""
    return "some time ago" if age_days < 300 else "long ago"


def told_parts(item: Told) -> Parts:
    """One picture and what is said of it: its side, notes in brackets, the picture, prompt, comment.

    The side stands before the picture: a causal model reads a picture without what follows it, and a picture whose
    side is not known yet cannot be remembered as a liked one (a side told after its pictures was not learned at all).
    """
    notes = ", ".join(filter(None, (weight_words(item.weight), age_words(item.age_days), ASPECT_WORDS[item.aspect])))
    side = f"{SIDE_WORDS[item.side]} ({notes}):" if notes else f"{SIDE_WORDS[item.side]}:"
    text = f" {item.prompt.strip().rstrip('.')}." if item.prompt else ""
    text += f' "{item.comment.strip()}"' if item.comment else ""
    return [side, item.picture, text] if text else [side, item.picture]


def history_parts(
    items: Sequence[Told], *, first: Side = "like", notes_like: Sequence[str] = (), notes_dislike: Sequence[str] = ()
) -> Parts:
    """A whole history: the pictures of one side, then the other's, each after its side. Order within a side is kept.

    Notes are words that the user adds to the pictures: one line for each side ("I like gold, pop art."). The last part
    is always a string.
    """
    parts: Parts = []
    for side in ("like", "dislike") if first == "like" else ("dislike", "like"):
        parts += [part for item in items if item.side == side for part in told_parts(item)]
    parts = parts or [NOTHING_SHOWN]
    for start, words in ((SIDE_WORDS["like"], notes_like), (SIDE_WORDS["dislike"], notes_dislike)):
        if words:
            parts.append(f"{start} {', '.join(words)}.")
    if not isinstance(parts[-1], str):
        parts.append(".")  # a picture that a question's picture follows would be joined to it by some processors
    return parts


def like_question(picture: Any) -> Parts:
    """Whether the user likes a picture; answered Yes or No."""
    return [picture, " Does the user like this image?"]


def choice_question(first: Any, second: Any) -> Parts:
    """Which of two pictures the user likes better; answered First or Second."""
    return [first, second, " Which image does the user like better, the first or the second?"]


def word_question(word: str, side: Side) -> Parts:
    """Whether the user likes (or dislikes) what a word names; answered Yes or No."""
    return [f" Does the user {side} {word}?"]


def same_user_question(items: Sequence[Told]) -> Parts:
    """Whether a second history is the same user's; answered Yes or No."""
    return [*history_parts(items), " Is this the same user?"]


def with_reason(answer: str, reasons: Sequence[str]) -> str:
    """`Yes` or `No` with the attributes that speak for it."""
    return f"{answer}, because of {', '.join(reasons)}." if reasons else f"{answer}."
