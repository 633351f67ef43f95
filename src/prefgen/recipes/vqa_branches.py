"""Questions about a history and their right answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefgen.agents import Taste, all_values
from prefgen.core import Side
from prefgen.mllm import (
    DISLIKES_QUESTION,
    LIKES_QUESTION,
    Branch,
    choice_question,
    like_question,
    with_reason,
    word_question,
)
from prefgen.recipes.vqa_slots import Slot, opinions_in

DESCRIBE_TASTE = " Describe this user's taste in one line."
NO_WORDS = "nothing in words"


def words_of(slots: list[Slot], side: Side, notes: tuple[str, ...] = ()) -> list[str]:
    """Words of one side that truly hold and that the history shows or names."""
    shown = {*notes} | {w for slot in slots if slot.liked == (side == "like") for w in opinions_in(slot, side)}
    return [v for v in all_values() if v in shown]


def yes_no_branches(
    pair: tuple[int, int], good: Sequence[str], bad: Sequence[str], rng: np.random.Generator
) -> list[Branch]:
    """The two questions of a pair, answers with their reasons half of the time."""
    reasons = rng.random() < 0.5
    return [
        Branch(question=like_question(pair[0]), answer=with_reason("Yes", good if reasons else ()), kind="yes_no"),
        Branch(question=like_question(pair[1]), answer=with_reason("No", bad if reasons else ()), kind="yes_no"),
    ]


def pair_branches(rng: np.random.Generator, pair: tuple[Slot, Slot]) -> list[Branch]:
    return yes_no_branches(
        (pair[0].key, pair[1].key), opinions_in(pair[0], "like"), opinions_in(pair[1], "dislike"), rng
    )


def choice_branch(rng: np.random.Generator, better: int, worse: int) -> Branch:
    first = bool(rng.random() < 0.5)
    pair = (better, worse) if first else (worse, better)
    return Branch(question=choice_question(*pair), answer="First." if first else "Second.", kind="choice")


def list_branches(likes: list[str], dislikes: list[str]) -> list[Branch]:
    return [
        Branch(question=[LIKES_QUESTION], answer=f"{', '.join(likes) or NO_WORDS}.", kind="likes"),
        Branch(question=[DISLIKES_QUESTION], answer=f"{', '.join(dislikes) or NO_WORDS}.", kind="dislikes"),
    ]


def word_branch(rng: np.random.Generator, likes: list[str], dislikes: list[str], tastes: Sequence[Taste]) -> Branch:
    """Whether one word is liked (or disliked), half of the answers Yes; a No is any word not held on that side."""
    side: Side = "like" if rng.random() < 0.5 else "dislike"
    held, shown = (likes, dislikes) if side == "like" else (dislikes, likes)
    true = bool(rng.random() < 0.5) and bool(held)
    truly = {v for t in tastes for vs in (t.likes if side == "like" else t.dislikes).values() for v in vs}
    rivals = shown if shown and rng.random() < 0.4 else [v for v in all_values() if v not in truly]
    word = str(rng.choice(held if true else [v for v in rivals if v not in held] or list(all_values())))
    return Branch(question=word_question(word, side), answer="Yes." if word in truly else "No.", kind="word")


def line_branch(likes: list[str], dislikes: list[str]) -> Branch:
    answer = f"Likes {', '.join(likes) or NO_WORDS}. Dislikes {', '.join(dislikes) or NO_WORDS}."
    return Branch(question=[DESCRIBE_TASTE], answer=answer, kind="line")
