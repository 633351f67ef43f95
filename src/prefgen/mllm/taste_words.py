"""A person's taste in words, asked of any vision-language model off the shelf; whatever it answers is read with
suspicion.

Nothing is trained and nothing is read but the answer's text. Liked and disliked pictures are shown in one turn, as many
as the model can bear, or one at a time, when words that several pictures share come first.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from prefgen.core import InputError, ModelError
from prefgen.mllm.budget import set_picture_budget
from prefgen.mllm.families import FAMILIES
from prefgen.mllm.processors import load_processor

MAX_WORDS, MAX_PARTS, MAX_LETTERS = 8, 3, 32
"""Most words a side; most parts ("soft light" has two) and letters of one. Longer ones are sentences."""
MAX_NEW_TOKENS = 80
SHOWN_PX = 384
"""Longest side of a picture as shown: a language model's share of the time grows with the square of it."""

_SIDES = {"like": ("likes", "dislikes"), "dislike": ("dislikes", "likes")}
_MARKUP = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]|```.*?```|https?://\S+", re.DOTALL)
_BREAKS = re.compile(r"[,;\n\r\t•·|/。、，；]+|\s[-–—*]\s|\.(?:\s|$)")
_LEADING = re.compile(r"^[\W_]*(?:\d{1,3}\s*[.):]\s*)?(?:(?:and|or|a|an|the)\s+)*", re.IGNORECASE)
_NOT_IN_WORDS = re.compile(r"[^\w\s'’&+-]|_")
_NO_WORDS = frozenset(
    [
        "sure",
        "okay",
        "ok",
        "yes",
        "no",
        "none",
        "n/a",
        "na",
        "unknown",
        "nothing",
        "certainly",
        "absolutely",
        "unfortunately",
        "sorry",
        "here",
        "answer",
        "user",
        "assistant",
        "likes",
        "dislikes",
        "like",
        "dislike",
        "liked",
        "disliked",
        "style",
        "styles",
        "picture",
        "pictures",
        "image",
        "images",
        "etc",
    ]
)
_SENTENCE = frozenset(
    [
        "i",
        "you",
        "they",
        "he",
        "she",
        "we",
        "it",
        "is",
        "are",
        "was",
        "were",
        "am",
        "this",
        "these",
        "that",
        "those",
        "cannot",
        "can't",
        "don't",
    ]
)


@dataclass(frozen=True, kw_only=True)
class TasteWords:
    """What a person likes and dislikes, strongest first; no word stands on both sides."""

    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.liked or self.disliked)


def taste_words(
    model: Any,
    processor: Any,
    liked: Sequence[Image.Image],
    disliked: Sequence[Image.Image],
    *,
    one_at_a_time: bool = False,
    max_pictures: int = 8,
) -> TasteWords:
    """Words of a taste from a model and its processor (transformers' `AutoModelForImageTextToText`, `AutoProcessor`).

    At most `max_pictures` a side are shown, evenly over those given. Decoding is greedy: the same pictures, the same
    words.

    Raises:
        InputError: no pictures.
        ModelError: the model cannot be asked, or said nothing that can be used.
    """
    shown = {"like": _some(liked, max_pictures), "dislike": _some(disliked, max_pictures)}
    if not any(shown.values()):
        raise InputError("expected at least one liked or disliked picture, got none")
    ask = _by_picture if one_at_a_time else _together
    try:
        found = {side: ask(model, processor, shown, side) if shown[side] else () for side in shown}
    except torch.OutOfMemoryError:
        raise
    except (ValueError, TypeError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        hint = (
            "use an instruction-tuned model with a chat template" if one_at_a_time else "show it one picture at a time"
        )
        raise ModelError(f"the vision-language model cannot be asked about pictures: {reason}", hint=hint) from error
    both = set(found["like"]) & set(found["dislike"])
    words = TasteWords(
        liked=tuple(w for w in found["like"] if w not in both)[:MAX_WORDS],
        disliked=tuple(w for w in found["dislike"] if w not in both)[:MAX_WORDS],
    )
    if not words:
        raise ModelError(
            "the vision-language model named no words of taste", hint="give the words yourself, or ask another"
        )
    return words


def words_in_answer(answer: str, *, max_words: int = MAX_WORDS) -> tuple[str, ...]:
    """The short words and phrases of an answer, in order, once each, lower case; sentences, markup and chatter are
    left out.

    >>> words_in_answer("Sure! Here they are: 1. Watercolour, 2. soft light. I hope this helps you, **soft light**")
    ('watercolour', 'soft light')
    """
    text = unicodedata.normalize("NFKC", answer[:4000])
    text = "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else " " for c in _MARKUP.sub("\n", text))
    pieces = _BREAKS.split(re.sub(r"(?<=\w)[!?]+\s", "\n", text))
    words = (_word(piece.rsplit(":", 1)[-1]) for piece in pieces)
    return tuple(dict.fromkeys(word for word in words if word))[:max_words]


def words_told(text: str) -> tuple[str, ...]:
    """A person's own comma-separated words, as they are, once each."""
    words = (" ".join(piece.split()) for piece in re.split(r"[,;\n]", text))
    return tuple(dict.fromkeys(word for word in words if word))


def load_vlm(name: str | Path, *, device: torch.device, dtype: torch.dtype, **hub: Any) -> tuple[Any, Any]:
    """Any vision-language model of the hub, or of a folder, and its processor, through transformers' own loaders.

    Processors of the families that are read here come without their video part where torchvision is not installed.

    Raises:
        ModelError: nothing that can be loaded lies there.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    try:
        kind = AutoConfig.from_pretrained(name, **hub).model_type
        family = next((one for one in FAMILIES if one.model_type == kind), None)
        if family is None:
            processor = AutoProcessor.from_pretrained(name, **hub)
        else:
            processor = load_processor(str(name), family, **hub)
            set_picture_budget(processor, family)
        model: Any = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, use_safetensors=True, **hub)
    except Exception as error:  # the loaders raise nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(
            f"expected a vision-language model in {name}, got {type(error).__name__}: {reason}",
            hint="check the name and the network (some need torchvision); or give the words yourself",
        ) from error
    if hasattr(getattr(processor, "image_processor", None), "do_image_splitting"):
        processor.image_processor.do_image_splitting = False  # five times the work for details no style lies in
    return model.to(device).eval(), processor


def vlm_parameters(name: str | Path, **hub: Any) -> int:
    """How many numbers a model holds, counted without reading one."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(name, **hub)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
    except Exception as error:  # as above
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(
            f"expected a vision-language model in {name}, got {type(error).__name__}: {reason}",
            hint="check the name and the network; or give the words yourself",
        ) from error
    return sum(p.numel() for p in model.parameters())


def _some(pictures: Sequence[Image.Image], n_most: int) -> list[Image.Image]:
    """At most `n_most` of them, evenly, small."""
    n = min(len(pictures), n_most)
    kept = [pictures[i * len(pictures) // n].convert("RGB") for i in range(n)]
    for picture in kept:
        picture.thumbnail((SHOWN_PX, SHOWN_PX))
    return kept


def _wish(says: str) -> str:
    return (
        f"{says} Name the medium, light, colours, mood and composition, not what is depicted. Answer with at most "
        f"{MAX_WORDS} words or short phrases, separated by commas, and nothing else."
    )


def _together(model: Any, processor: Any, shown: dict[str, list[Image.Image]], side: str) -> tuple[str, ...]:
    verb, other = _SIDES[side]
    parts: list[Any] = []
    for name, pictures in shown.items():
        for picture in pictures:
            parts += [f"The person {_SIDES[name][0]} this picture:", picture]
    unlike = f", and those they {other[:-1]} do not" if all(shown.values()) else ""
    return words_in_answer(
        _answer(model, processor, [*parts, _wish(f"What do the pictures they {verb[:-1]} share{unlike}?")])
    )


def _by_picture(model: Any, processor: Any, shown: dict[str, list[Image.Image]], side: str) -> tuple[str, ...]:
    """Words by how many more pictures of this side than of the other are said to show them."""
    votes: Counter[str] = Counter()
    for name, pictures in shown.items():
        for picture in pictures:
            for word in words_in_answer(_answer(model, processor, [picture, _wish("What is this picture's style?")])):
                votes[word] += 1 if name == side else -1
    return tuple(word for word, n in votes.most_common() if n > 0)[:MAX_WORDS]


@torch.no_grad()
def _answer(model: Any, processor: Any, parts: Sequence[Any]) -> str:
    """What a model says to one turn of texts and pictures; only the new tokens, without special ones."""
    content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image", "image": p} for p in parts]
    inputs = processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    inputs = inputs.to(model.device)
    inputs = {
        k: v.to(model.dtype) if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in inputs.items()
    }
    made = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    return processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def _word(piece: str) -> str | None:
    """One piece of an answer as a word, or None if it is none."""
    plain = _NOT_IN_WORDS.sub(" ", _LEADING.sub("", piece)).strip(" '’&+-")
    plain = _LEADING.sub("", " ".join(plain.split())).casefold()
    parts = plain.split()
    if not parts or len(parts) > MAX_PARTS or len(plain) > MAX_LETTERS or not any(c.isalpha() for c in plain):
        return None
    if len(plain) == 1 and plain.isascii():
        return None
    return None if set(parts) <= _NO_WORDS or set(parts) & _SENTENCE else plain


def merged_words(told: TasteWords, found: TasteWords) -> TasteWords:
    """A person's own words first, then a model's; what a person says of a word stands."""
    said = {word.casefold() for word in (*told.liked, *told.disliked)}

    def side(own: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
        return (*own, *(word for word in more if word.casefold() not in said))

    return TasteWords(liked=side(told.liked, found.liked), disliked=side(told.disliked, found.disliked))
