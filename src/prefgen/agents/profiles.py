"""Profiles that a language model writes: what is asked, what an answer must be, and the simulated person it gives."""

from __future__ import annotations

import json
from collections.abc import Mapping

from prefgen.agents.people import Dials, Person, Taste
from prefgen.agents.vocabulary import FAMILIES
from prefgen.core import DataError, nearest_hint, numpy_rng

MAX_WORDS, MAX_WORD_LETTERS = 12, 60
SIDES = ("liked", "disliked")


def question_for(identity: str, *, free_words: bool) -> str:
    """What a language model is asked for one person. With `free_words` the vocabulary is an example, else a rule."""
    rng = numpy_rng("profile question", identity)
    rule = "words of your own, such as these" if free_words else "only these words"
    families = [f"{family}: {', '.join(map(str, rng.permutation(values)))}" for family, values in FAMILIES.items()]
    form = json.dumps({"liked": {"palette": ["…"]}, "disliked": {"medium": ["…"]}}, ensure_ascii=False)
    return "\n".join(
        [
            f"Invent the taste in pictures of person {identity}: what they like and dislike to see, as a real person "
            "would, neither complete nor symmetric.",
            f"Use these families, and {rule}:",
            *families,
            f"Answer with JSON alone, of the form {form}: for each side two to five families, one to three words each.",
            "No word stands on both sides.",
        ]
    )


def taste_of(answer: str, *, free_words: bool) -> Taste:
    """The taste in an answer: JSON, perhaps inside a code fence or a sentence.

    Raises:
        DataError: it is not JSON of the form asked for; says where it departs.
    """
    start, end = answer.find("{"), answer.rfind("}")
    try:
        value = json.loads(answer[start : end + 1])
    except (ValueError, RecursionError) as error:
        raise DataError(f"no JSON in the answer: {answer[:80]!r}") from error
    if not isinstance(value, dict) or set(value) != set(SIDES):
        raise DataError(f"expected an object with {' and '.join(SIDES)}, got {sorted(map(str, value))[:5]}")
    liked, disliked = (_side(value[side], side, free_words) for side in SIDES)
    both = {w for words in liked.values() for w in words} & {w for words in disliked.values() for w in words}
    if both:
        raise DataError(f"{sorted(both)[0]!r} is liked and disliked")
    if not liked:
        raise DataError("nothing is liked")
    return Taste(likes=liked, dislikes=disliked, looks_liked=(), looks_disliked=(), traits={})


def person_of(identity: str, taste: Taste, dials: Dials) -> Person:
    """A plain person of a written taste; counts and slips come from the dials."""
    rng = numpy_rng("written person", identity)
    return Person(
        id=identity,
        cluster=-1,
        kind="plain",
        tastes=(taste,),
        flipped=dials.flipped,
        n_likes=int(rng.integers(dials.n_likes[0], dials.n_likes[1] + 1)),
        n_dislikes=int(rng.integers(dials.n_dislikes[0], dials.n_dislikes[1] + 1)),
    )


def _side(value: object, side: str, free_words: bool) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise DataError(f"expected an object as {side!r}, got {type(value).__name__}")
    found: dict[str, tuple[str, ...]] = {}
    for family, words in value.items():
        if family not in FAMILIES:
            raise DataError(f"unknown family {str(family)[:40]!r}", hint=nearest_hint(str(family)[:40], FAMILIES))
        if not isinstance(words, list) or len(words) > MAX_WORDS:
            raise DataError(f"expected a list of at most {MAX_WORDS} words as {side}.{family}")
        checked = tuple(dict.fromkeys(_word(word, family, free_words) for word in words))
        if checked:
            found[family] = checked
    return found


def _word(value: object, family: str, free_words: bool) -> str:
    word = " ".join(value.split()).lower() if isinstance(value, str) else ""
    if not word or len(word) > MAX_WORD_LETTERS or not word.isprintable() or "," in word:
        raise DataError(f"expected a word of {family} of at most {MAX_WORD_LETTERS} letters, got {str(value)[:40]!r}")
    if not free_words and word not in FAMILIES[family]:
        raise DataError(f"{word!r} is no word of {family}", hint=nearest_hint(word, FAMILIES[family]))
    return word
