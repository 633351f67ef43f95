"""One opinion from loose values: every value a person may type is read, checked and named in the error here."""

from __future__ import annotations

import math
import numbers
import re
from datetime import datetime, timezone

from prefgen.core import ASPECTS, Aspect, HistoryItem, InputError, Side, content_hash, nearest_hint
from prefgen.history.pictures import PictureSource, load_picture, picture_name, shrunk

MAX_WEIGHT = 100.0
"""Largest relative weight: beyond it one picture drowns all others, which is a slip more often than a wish."""

MAX_TEXT_LETTERS = 20_000
"""Longest prompt or comment: a page. A model reads every word of every picture."""

_MAX_TIME_S = 1e11  # the year 5138; milliseconds of today lie above it
_MAYBE_A_DATE = re.compile(r"\d{4}|\d{8}")
_LIKE = frozenset(
    {"like", "likes", "liked", "love", "positive", "pos", "good", "up", "yes", "true", "1", "1.0", "+", "+1"}
)
_DISLIKE = frozenset(
    {
        "dislike",
        "dislikes",
        "disliked",
        "hate",
        "negative",
        "neg",
        "bad",
        "down",
        "no",
        "false",
        "0",
        "0.0",
        "-",
        "-1",
        "-1.0",
    }
)
_ASPECT_SYNONYMS: dict[str, Aspect] = {"colors": "colours", "color": "colours", "colour": "colours"}


def item_from(
    source: PictureSource,
    side: Side,
    *,
    prompt: object = None,
    comment: object = None,
    time: object = None,
    weight: object = None,
    aspect: object = None,
    longest_px: int | None = None,
) -> HistoryItem:
    """A checked `HistoryItem` with its picture loaded; None or blank means absent (weight 1, aspect `all`).

    With `longest_px` only a copy of at most that many pixels a side is kept; the content hash is the whole picture's.

    Raises:
        InputError: the picture cannot be loaded, or a value is not what its name says.
    """
    values = {
        "prompt": parse_text(prompt, "prompt"),
        "comment": parse_text(comment, "comment"),
        "time_s": parse_time(time),
        "weight": parse_weight(weight),
        "aspect": parse_aspect(aspect),
    }
    image = load_picture(source)
    kept = image if longest_px is None else shrunk(image, longest_px)
    return HistoryItem(image=kept, sha256=content_hash(image), side=side, source=picture_name(source), **values)


def parse_side(value: object) -> Side:
    """`like` or `dislike` from the usual words and signs (liked, yes, 1, + …; disliked, no, 0, -1, - …).

    Raises:
        InputError: the value is none of them.
    """
    word = str(value).strip().lower()
    if word in _LIKE:
        return "like"
    if word in _DISLIKE:
        return "dislike"
    hint = nearest_hint(word, sorted(_LIKE | _DISLIKE)) or "use like/dislike, 1/0 or +/-"
    raise InputError(f"expected a side (like or dislike), got {value!r}", hint=hint)


def parse_text(value: object, what: str) -> str | None:
    """The text, or None where it is absent or blank.

    Raises:
        InputError: the value is not text, or longer than `MAX_TEXT_LETTERS`.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"expected text as {what}, got {type(value).__name__} {_short(value)}")
    if len(value) > MAX_TEXT_LETTERS:
        raise InputError(f"expected at most {MAX_TEXT_LETTERS} letters as {what}, got {len(value)}: {_short(value)}")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(f"the {what} {_short(value)} holds half a character (a lone surrogate)")
    return value if value.strip() else None


def parse_weight(value: object) -> float:
    """A relative weight above 0 and at most `MAX_WEIGHT`; absent means 1.

    Raises:
        InputError: the value is no number, not finite, or out of range.
    """
    if _absent(value):
        return 1.0
    weight = _number(value)
    if weight is None or not 0 < weight <= MAX_WEIGHT:  # NaN fails both comparisons
        raise InputError(
            f"expected a weight above 0 and at most {MAX_WEIGHT:g}, got {_short(value)}",
            hint="1 is ordinary, 2 counts double; leave a picture out rather than give it no weight",
        )
    return weight


def parse_time(value: object) -> float | None:
    """Unix seconds from a number, an ISO 8601 text or a datetime; without a zone it is read as UTC. Absent means None.

    Raises:
        InputError: the value is none of these, not finite, so large that it must be milliseconds, or a text of four or
            eight digits, which may be a year, a date or seconds.
    """
    if _absent(value):
        return None
    if isinstance(value, str) and _MAYBE_A_DATE.fullmatch(value.strip()):
        raise InputError(f"the time {_short(value)} may be a date or seconds", hint="write a date as 2025-03-01")
    time_s = _number(value)
    if time_s is None:
        time_s = _calendar_seconds(value)
    if time_s is None or not math.isfinite(time_s):
        raise InputError(
            f"expected a time in unix seconds or ISO 8601, got {_short(value)}", hint="such as 2025-03-01T12:30:00Z"
        )
    if abs(time_s) > _MAX_TIME_S:
        raise InputError(
            f"the time {_short(value)} lies outside any calendar",
            hint="unix seconds are expected; are these milliseconds?",
        )
    return time_s


def parse_aspect(value: object) -> Aspect:
    """Which part of the picture the opinion is about; absent means `all`.

    Raises:
        InputError: the value is no known aspect.
    """
    if _absent(value):
        return "all"
    word = str(value).strip().lower()
    for aspect in ASPECTS:
        if word == aspect:
            return aspect
    if word in _ASPECT_SYNONYMS:
        return _ASPECT_SYNONYMS[word]
    raise InputError(
        f"expected an aspect ({', '.join(ASPECTS)}), got {_short(value)}", hint=nearest_hint(word, ASPECTS)
    )


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _number(value: object) -> float | None:
    if (
        isinstance(value, bool)
        or not isinstance(value, (str, numbers.Real))
        or (isinstance(value, str) and "_" in value)
    ):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _calendar_seconds(value: object) -> float | None:
    if isinstance(value, str):
        text = value.strip()
        try:
            value = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()


def _short(value: object) -> str:
    """The value for a message, never longer than a line can bear (an integer may have thousands of digits)."""
    try:
        text = repr(value)
    except ValueError:
        return "a very long number"
    return text if len(text) <= 60 else text[:57] + "…"
