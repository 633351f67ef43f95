"""A taste in words, heard through ViPer's guidance (`prefgen.diffusion.word_steering`)."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from prefgen.core import History, InputError
from prefgen.diffusion.word_steering import TextStates, steered_by_words, text_states
from prefgen.mllm.taste_words import TasteWords, load_vlm, taste_words
from prefgen.pipeline.loading import device_named
from prefgen.pipeline.untrained.base import dtype_for, hub_arguments, memory_told
from prefgen.pipeline.untrained.person import Ask, digest_of, images_of


@dataclass(frozen=True, kw_only=True)
class WordsPerson:
    """Somebody known by words. A strength is ViPer's degree of its side (arXiv 2407.17365: 0.85, guidance 5)."""

    words: TasteWords

    way: ClassVar[str] = "words"
    like_strength: ClassVar[float] = 0.85
    dislike_strength: ClassVar[float] = 0.85
    guidance_scale: ClassVar[float | None] = 5.0

    def __post_init__(self) -> None:
        if not self.words:
            raise InputError("expected words of taste, got none", hint="give liked or disliked words, or ask a model")

    @property
    def digest(self) -> str:
        """Of the words and their sides."""
        return digest_of(self.way, ["liked", *self.words.liked, "disliked", *self.words.disliked])

    @property
    def has_dislikes(self) -> bool:
        """Whether anything is disliked."""
        return bool(self.words.disliked)

    @property
    def told(self) -> dict[str, object]:
        """The words."""
        sides = {"liked_words": self.words.liked, "disliked_words": self.words.disliked}
        return {name: ", ".join(words) for name, words in sides.items() if words}

    @contextmanager
    def heard(self, pipe: Any, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `UntrainedPerson`. Without guidance the liked words act through the prompt's states alone."""
        liked = _side(pipe, self.words.liked if ask.like_strength else (), len(ask.prompts))
        disliked = _side(pipe, self.words.disliked if ask.dislike_strength and ask.guided else (), len(ask.prompts))
        if liked is None and disliked is None:
            yield ask.plain()
            return
        prompt, nothing = text_states(pipe, ask.prompts, ask.negative)
        if liked is not None:
            prompt = prompt.plus(ask.like_strength, liked)
        degrees = [s if side is not None else 0.0 for s, side in zip(_strengths(ask), (liked, disliked))]
        steering = steered_by_words(pipe.unet, liked, disliked, *degrees) if ask.guided else nullcontext()
        with steering:
            yield _arguments(prompt, nothing)


def words_of_pictures(
    name: str,
    history: History,
    *,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    one_at_a_time: bool = False,
    **hub: Any,
) -> TasteWords:
    """A history's taste in the words of a vision-language model, which is loaded for this alone and let go again.

    Raises:
        ModelError: there is no such model, or it said nothing that can be used.
        ConfigError: it does not fit into memory.
    """
    where = device_named(device)
    ways_out = ["--words-from a smaller model", "--dtype float16", "--device cpu", "or give --like-words yourself"]
    try:
        with memory_told(f"the vision-language model {name}", ways_out):
            model, processor = load_vlm(name, device=where, dtype=dtype_for(dtype, where), **hub_arguments(**hub))
            return taste_words(
                model, processor, images_of(history.liked), images_of(history.disliked), one_at_a_time=one_at_a_time
            )
    finally:
        model = processor = None
        gc.collect()
        if where.type == "cuda":
            torch.cuda.empty_cache()


def _side(pipe: Any, words: Sequence[str], n: int) -> TextStates | None:
    return text_states(pipe, [", ".join(words)])[0].repeated(n) if words else None


def _strengths(ask: Ask) -> tuple[float, float]:
    return ask.like_strength, ask.dislike_strength


def _arguments(prompt: TextStates, nothing: TextStates) -> dict[str, Any]:
    pooled = {"pooled_prompt_embeds": prompt.pooled, "negative_pooled_prompt_embeds": nothing.pooled}
    states = {"prompt_embeds": prompt.states, "negative_prompt_embeds": nothing.states}
    return states if prompt.pooled is None else states | pooled
