"""The chat frame of any processor: what stands before, around and after the parts of one user turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prefgen.core import ModelError
from prefgen.mllm.wording import Parts

_LEFT, _RIGHT = "\x02left\x02", "\x02right\x02"


@dataclass(frozen=True, kw_only=True)
class ChatFrame:
    """`opening` + text + `closing` is the prompt of one user turn; each picture stands as `image` in the text.

    `special` are the strings that the tokenizer reads as tokens of its own. `gap` stands between the prompt and the
    answer: a space after "Assistant:", nothing after a line's end. `in_pieces`: history, question and answer may be
    tokenised one by one; else a text must be tokenised whole.
    """

    opening: str
    image: str
    closing: str
    special: tuple[str, ...] = ()
    gap: str = " "
    in_pieces: bool = True

    def body(self, parts: Parts, pictures: Iterator[str] | None = None) -> str:
        """The parts as text, with `image`, or the next of `pictures`, for every picture.

        A special token within a text, a comment that says "<image>", is broken up: it neither stands for a picture nor
        ends the turn.
        """
        return "".join(
            self._plain(part) if isinstance(part, str) else self.image if pictures is None else next(pictures)
            for part in parts
        )

    def _plain(self, text: str) -> str:
        for token in self.special:
            text = text.replace(token, f"{token[:1]} {token[1:]}")
        return text

    def prompt(self, parts: Parts) -> str:
        """The whole prompt, up to where the answer begins."""
        return self.opening + self.body(parts) + self.closing


def chat_frame(processor: Any, placeholder: str = "") -> ChatFrame:
    """Reads the frame off the processor's chat template, so that one code serves every family.

    A template that puts all pictures before all texts (LLaVA-OneVision's) is asked for its frame alone; `placeholder`
    then stands for a picture in the text. The token that the tokenizer itself puts at the start belongs to `opening`.

    Raises:
        ModelError: the processor has no chat template, or one that does not keep text and images in order.
    """
    tokenizer = processor.tokenizer
    try:
        opening, image, closing = _framed(processor, placeholder)
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"expected a processor whose chat template takes images between texts, got {error}",
            hint="use an instruction-tuned model, such as HuggingFaceM4/idefics2-8b",
        ) from error
    opening = _start(tokenizer, opening) + opening
    own = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab(), image.strip()}
    special = tuple(sorted(own - {""}, key=len, reverse=True))
    gap = "" if closing[-1:].isspace() else " "
    return ChatFrame(
        opening=opening,
        image=image,
        closing=closing,
        special=special,
        gap=gap,
        in_pieces=_joins(tokenizer, opening, closing, gap),
    )


def _framed(processor: Any, placeholder: str) -> tuple[str, str, str]:
    """Opening, picture and closing. Raises `ValueError` without order in the template and without a placeholder."""
    image_token = getattr(processor, "image_token", None) or placeholder
    left, picture, right = {"type": "text", "text": _LEFT}, {"type": "image"}, {"type": "text", "text": _RIGHT}
    opening, rest = _rendered(processor, [left, picture, right]).split(_LEFT)
    image, closing = rest.split(_RIGHT)
    if image_token in image and image_token not in opening + closing:
        return opening, image, closing
    if not placeholder or image_token not in placeholder:
        raise ValueError("a template that moves images away from their places")
    opening, closing = _rendered(processor, [left]).split(_LEFT)
    return opening, placeholder, closing


def _rendered(processor: Any, content: list[dict[str, str]]) -> str:
    return processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=processor.chat_template or processor.tokenizer.chat_template,
        tokenize=False,
        add_generation_prompt=True,
    )


def _start(tokenizer: Any, opening: str) -> str:
    """The token that the tokenizer puts before any text, unless the template has put it there."""
    first = tokenizer.bos_token
    if not first or opening.startswith(first):
        return ""
    return first if tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id] else ""


def _joins(tokenizer: Any, opening: str, closing: str, gap: str) -> bool:
    """Whether tokens of pieces are those of the whole; not where a tokenizer puts a space before every text."""
    pieces = [f"{opening} I like: gold.", f" Does the user like it?{closing}", f"{gap}Yes."]
    split = [i for ids in tokenizer(pieces, add_special_tokens=False)["input_ids"] for i in ids]
    return split == tokenizer("".join(pieces), add_special_tokens=False)["input_ids"]


def pictures_in(parts: Parts) -> list[Any]:
    """The pictures among the parts, in order."""
    return [part for part in parts if not isinstance(part, str)]


def answer_token(processor: Any, frame: ChatFrame, answer: str) -> int:
    """The single token that begins `answer` after the prompt.

    Raises:
        ModelError: the tokenizer needs several tokens, so that the answer's probability cannot be read at once.
    """
    before = processor.tokenizer(frame.closing, add_special_tokens=False)["input_ids"]
    after = processor.tokenizer(f"{frame.closing}{frame.gap}{answer}", add_special_tokens=False)["input_ids"]
    if after[: len(before)] != before or len(after) != len(before) + 1:
        raise ModelError(f"expected {answer!r} to be one token of the tokenizer, got {len(after) - len(before)}")
    return int(after[-1])


def answer_tokens(processor: Any, frame: ChatFrame, answers: Sequence[str]) -> tuple[int, ...]:
    """One token for each answer.

    Raises:
        ModelError: an answer needs several tokens, or two answers begin with the same one.
    """
    found = tuple(answer_token(processor, frame, answer) for answer in answers)
    if len(set(found)) != len(found):
        raise ModelError(f"expected {' and '.join(answers)} to be different tokens, got the same")
    return found
