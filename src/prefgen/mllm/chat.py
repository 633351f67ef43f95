"""The chat frame of any processor: what stands before, around and after the parts of one user turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefgen.core import ModelError
from prefgen.mllm.wording import Parts

_LEFT, _RIGHT = "\x02left\x02", "\x02right\x02"


@dataclass(frozen=True, kw_only=True)
class ChatFrame:
    """`opening` + text + `closing` is the prompt of one user turn; each picture stands as `image` in the text.

    `special` are the strings that the tokenizer reads as tokens of its own.
    """

    opening: str
    image: str
    closing: str
    special: tuple[str, ...] = ()

    def body(self, parts: Parts) -> str:
        """The parts as text, with `image` for every picture.

        A special token within a text, a comment that says "<image>", is broken up: it neither stands for a picture nor
        ends the turn.
        """
        return "".join(self._plain(part) if isinstance(part, str) else self.image for part in parts)

    def _plain(self, text: str) -> str:
        for token in self.special:
            text = text.replace(token, f"{token[:1]} {token[1:]}")
        return text

    def prompt(self, parts: Parts) -> str:
        """The whole prompt, up to where the answer begins."""
        return self.opening + self.body(parts) + self.closing


def chat_frame(processor: Any) -> ChatFrame:
    """Reads the frame off the processor's chat template, so that one code serves every family.

    Raises:
        ModelError: the processor has no chat template, or one that does not keep text and images in order.
    """
    content = [{"type": "text", "text": _LEFT}, {"type": "image"}, {"type": "text", "text": _RIGHT}]
    try:
        text = processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=processor.chat_template or processor.tokenizer.chat_template,
            tokenize=False,
            add_generation_prompt=True,
        )
        opening, rest = text.split(_LEFT)
        image, closing = rest.split(_RIGHT)
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"expected a processor whose chat template takes images between texts, got {error}",
            hint="use an instruction-tuned model, such as HuggingFaceM4/idefics2-8b",
        ) from error
    special = tuple(sorted({*processor.tokenizer.all_special_tokens, image.strip()} - {""}, key=len, reverse=True))
    return ChatFrame(opening=opening, image=image, closing=closing, special=special)


def pictures_in(parts: Parts) -> list[Any]:
    """The pictures among the parts, in order."""
    return [part for part in parts if not isinstance(part, str)]


def answer_token(processor: Any, frame: ChatFrame, answer: str) -> int:
    """The single token that begins `answer` after the prompt.

    Raises:
        ModelError: the tokenizer needs several tokens, so that the answer's probability cannot be read at once.
    """
    before = processor.tokenizer(frame.closing, add_special_tokens=False)["input_ids"]
    after = processor.tokenizer(f"{frame.closing} {answer}", add_special_tokens=False)["input_ids"]
    if after[: len(before)] != before or len(after) != len(before) + 1:
        raise ModelError(f"expected {answer!r} to be one token of the tokenizer, got {len(after) - len(before)}")
    return int(after[-1])
