"""The texts from which the embedded tokenizer is trained: every word of every question, note and answer."""

from __future__ import annotations

from collections.abc import Iterator

from prefgen.agents import FAMILIES, SETTINGS, SUBJECTS, Scene, all_values, caption_of, prompt_of
from prefgen.core import Aspect, Side, numpy_rng
from prefgen.mllm import (
    DISLIKES_QUESTION,
    LIKES_QUESTION,
    Told,
    choice_question,
    history_parts,
    like_question,
    same_user_question,
    with_reason,
    word_question,
)

OTHER_WORDS = (
    " Describe this image. What is its? What is in this image? Is it Which image is by the hand of the first, the"
    " second or the third? What do these images share? Second. Third. First. plain. nothing in words. one line"
    " Describe this user's taste in one line. Likes Dislikes I love hate enjoy adore dislike don't like the so much"
    " too for me not here great lovely awful a an this that picture image style colour colours painting it is was very"
    " really and but more less"
)


def _written(parts: list[object]) -> str:
    return "".join(part if isinstance(part, str) else " " for part in parts)


def _noted(side: Side, weight: float, age_days: float | None, aspect: Aspect) -> Told:
    return Told(
        picture=0, side=side, weight=weight, age_days=age_days, aspect=aspect, comment="I love the gold", prompt="a fox"
    )


def tokenizer_texts() -> Iterator[str]:
    """Every word often, every note and question, and common sentences; a pure function."""
    rng = numpy_rng("tokenizer texts")
    words = all_values()
    notes: list[tuple[float, float | None, Aspect]] = [
        (3.0, 0.0, "colours"),
        (2.0, 200.0, "subject"),
        (0.5, 400.0, "style"),
        (0.2, None, "composition"),
    ]
    for _ in range(20):
        yield "User: Assistant: Yes, because of No, because of" + OTHER_WORDS
        for weight, age, aspect in notes:
            items = [_noted("like", weight, age, aspect), _noted("dislike", weight, age, aspect)]
            yield _written(history_parts(items)) + _written(history_parts([])) + _written(same_user_question(items))
        for word in words:
            values = [str(v) for v in rng.choice(words, 3)]
            yield f" {word}, {word}. Is it {word}?" + with_reason(" Yes", values) + with_reason(" No", values)
            yield _written(word_question(word, "like") + word_question(word, "dislike"))
        for subject in SUBJECTS:
            for setting in (*SETTINGS, None):
                scene = Scene(subject=subject, setting=setting)
                yield f" {prompt_of(scene)}. {caption_of(scene)}, {rng.choice(words)}."
        for family in FAMILIES:
            yield f" What is its {family}?"
        yield LIKES_QUESTION + DISLIKES_QUESTION + _written(like_question(0) + choice_question(0, 1))
