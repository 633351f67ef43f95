"""Pictures as a profile keeps them: shrunk once, before anything looks at them, so that nothing else ever counts."""

from __future__ import annotations

import math
from dataclasses import replace

from PIL import Image

from prefgen.core import History, HistoryItem, InputError, content_hash
from prefgen.history import MAX_WEIGHT, PictureSource, load_picture, parse_text, shrunk

MAX_STORED_PX = 256
"""Longest side of a stored picture; no encoder of the chain looks at more."""

MAX_ITEMS = 2000
"""Most pictures in a profile."""

_MIN_PREFIX = 8


def stored_picture(image: Image.Image) -> Image.Image:
    """An RGB copy of at most `MAX_STORED_PX` a side; a stored picture comes back as it is."""
    return shrunk(image, MAX_STORED_PX)


def stored_item(item: HistoryItem) -> HistoryItem:
    """The item with its picture shrunk and its source forgotten; the content hash stays the original picture's."""
    weight = float(item.weight)
    if not (math.isfinite(weight) and 0 < weight <= MAX_WEIGHT):
        raise InputError(f"expected a weight above 0 and at most {MAX_WEIGHT:g}, got {item.weight}")
    time_s = None if item.time_s is None else float(item.time_s)
    if time_s is not None and not math.isfinite(time_s):
        raise InputError(f"expected unix seconds as a time, got {item.time_s}")
    for what in ("prompt", "comment"):
        parse_text(getattr(item, what), what)
    return replace(item, image=stored_picture(item.image), weight=weight, time_s=time_s, source=None)


def stored_history(history: History) -> History:
    """Every item stored, in order.

    Raises:
        InputError: the same picture stands in it twice, there is none, or there are more than `MAX_ITEMS`.
    """
    if len(history) > MAX_ITEMS:
        raise InputError(f"expected at most {MAX_ITEMS} pictures in a profile, got {len(history)}")
    items = tuple(stored_item(item) for item in history.items)
    if not items:
        raise InputError("expected at least one liked or disliked picture, got none")
    if len({item.sha256 for item in items}) != len(items):
        raise InputError("the same picture stands twice in the history", hint="keep one of the two opinions")
    return History(items=items)


def find_item(history: History, picture: PictureSource) -> int:
    """The place of a picture in a history, found by its content, or by the first 8 or more digits of its hash.

    Raises:
        InputError: it is not there, or a hash fits several.
    """
    prefix = picture.lower() if isinstance(picture, str) else ""
    if len(prefix) >= _MIN_PREFIX and set(prefix) <= set("0123456789abcdef"):
        places = [place for place, item in enumerate(history.items) if item.sha256.startswith(prefix)]
        if len(places) > 1:
            raise InputError(f"{len(places)} pictures have a hash that starts with {prefix}", hint="give more digits")
        if places:
            return places[0]
    image = load_picture(picture)
    original, small = content_hash(image), content_hash(stored_picture(image))
    for place, item in enumerate(history.items):
        if item.sha256 == original:
            return place
    for place, item in enumerate(history.items):
        if content_hash(item.image) == small:
            return place
    raise InputError(
        "the picture is not in the profile", hint="`prefgen profile show` lists the pictures with their hashes"
    )
