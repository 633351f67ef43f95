"""Which known words a comment names, and whether in praise or in blame.

"Love the gold, but too much hatching" on a liked picture praises gold and blames hatching. What stands without either
is meant as its picture was: liked or disliked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from prefgen.core import Side

PRAISE = frozenset(
    ["love", "loves", "loved", "like", "likes", "liked", "great", "good", "nice", "beautiful", "lovely", "perfect",
     "favourite", "favorite", "more"]
)  # fmt: skip
BLAME = frozenset(
    ["hate", "hates", "hated", "dislike", "dislikes", "disliked", "bad", "ugly", "boring", "too", "less", "without",
     "except"]
)  # fmt: skip
DENIAL = frozenset(
    ["no", "not", "never", "nor", "don't", "doesn't", "didn't", "isn't", "aren't", "wasn't", "cannot", "can't",
     "hardly"]
)  # fmt: skip
_TURNS = frozenset(["but", "however", "though", "although", "yet"])
_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[.,;:!?]")


def words_named(comment: str, words: Mapping[str, int], side: Side) -> list[tuple[int, Side]]:
    """(number, side) of each of `words` (small letters to a number) that the comment names; longer ones win."""
    tokens = [token.replace("’", "'") for token in _TOKEN.findall(comment.lower())]
    most = max((len(_TOKEN.findall(word)) for word in words), default=0)
    found: list[tuple[int, Side]] = []
    feeling, denied = 0, False
    place = 0
    while place < len(tokens):
        named = next((n for n in range(min(most, len(tokens) - place), 0, -1)
                      if " ".join(tokens[place : place + n]) in words), 0)  # fmt: skip
        token = tokens[place]
        if named:
            sign = -1 if denied and not feeling else feeling
            meant: Side = side if not sign else "like" if sign > 0 else "dislike"
            found.append((words[" ".join(tokens[place : place + named])], meant))
        elif token in _TURNS or token in ".;:!?":
            feeling, denied = 0, False
        elif token in DENIAL:
            feeling, denied = 0, True
        elif token in PRAISE or token in BLAME:
            feeling, denied = (1 if token in PRAISE else -1) * (-1 if denied else 1), False
        place += named or 1
    return found
