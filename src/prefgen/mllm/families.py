"""The families of vision-language models that the port reads, and what sets each apart."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from prefgen.core import ModelError, nearest_hint


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family, known by its `model_type` in `config.json`.

    `wording` says who writes a picture's tokens into a text: the `processor` without seeing the picture (Idefics2), the
    processor once it has `seen` the picture (tiles and their places), or we, as one `run` of image tokens.
    `positions` are counted by token, or over time, height and width (`grid`). `placeholder` stands for a picture where
    the chat template does not keep pictures and texts in order.
    """

    model_type: str
    hub_names: tuple[str, ...]
    processor: str
    wording: Literal["processor", "seen", "run"]
    positions: Literal["tokens", "grid"] = "tokens"
    joined: bool = True
    """Picture tokens are handed over as one tensor (else as a tuple of tensors)."""
    lone_picture_differs: bool = False
    """A picture alone is laid out differently from one among others: it is always read as one among others."""
    image_tokens: int | None = None
    """Most tokens of a picture unless the caller says otherwise; None leaves it to the processor."""
    placeholder: str = "<image>"


FAMILIES: tuple[Family, ...] = (
    Family(
        model_type="idefics2",
        hub_names=("HuggingFaceM4/idefics2-8b", "HuggingFaceM4/idefics2-8b-chatty"),
        processor="Idefics2Processor",
        wording="processor",
    ),
    Family(
        model_type="idefics3",
        hub_names=("HuggingFaceM4/Idefics3-8B-Llama3",),
        processor="Idefics3Processor",
        wording="seen",
    ),
    Family(
        model_type="smolvlm",
        hub_names=(
            "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
            "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
            "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
        ),
        processor="SmolVLMProcessor",
        wording="seen",
    ),
    Family(
        model_type="qwen2_5_vl",
        hub_names=("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-72B-Instruct"),
        processor="Qwen2_5_VLProcessor",
        wording="run",
        positions="grid",
        joined=False,
        image_tokens=256,
        placeholder="<|vision_start|><|image_pad|><|vision_end|>",
    ),
    Family(
        model_type="qwen3_vl",
        hub_names=("Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen3-VL-8B-Instruct"),
        processor="Qwen3VLProcessor",
        wording="run",
        positions="grid",
        joined=False,
        image_tokens=256,
        placeholder="<|vision_start|><|image_pad|><|vision_end|>",
    ),
    Family(
        model_type="llava_onevision",
        hub_names=("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "llava-hf/llava-onevision-qwen2-7b-ov-hf"),
        processor="LlavaOnevisionProcessor",
        wording="run",
        joined=False,
        lone_picture_differs=True,
    ),
)
HUB_NAMES = tuple(name for family in FAMILIES for name in family.hub_names)


def family_of(config: Any) -> Family:
    """The family of a model's config.

    Raises:
        ModelError: another kind of model; the hint names the nearest family.
    """
    kind = str(getattr(config, "model_type", "") or "")
    for family in FAMILIES:
        if family.model_type == kind:
            return family
    known = [family.model_type for family in FAMILIES]
    what = "a vision-language model of another family" if hasattr(config, "vision_config") else "a text-only model"
    raise ModelError(
        f"expected a vision-language model of the families {', '.join(known)}, got {what} ({kind or 'no model_type'})",
        hint=nearest_hint(kind, known) or f"use one such as {HUB_NAMES[0]}",
    )


def hub_hint(name: str) -> str | None:
    """Names the nearest published model to a mistyped one, with or without its owner."""
    if name in HUB_NAMES:
        return None
    folded: dict[str, str] = {}
    for full in HUB_NAMES:
        folded[full.lower()] = full
        folded[full.split("/")[1].lower()] = full
    return _nearest(name.lower(), folded) or _nearest(name.lower().rsplit("/", 1)[-1], folded)


def _nearest(word: str, folded: dict[str, str]) -> str | None:
    match = get_close_matches(word, list(folded), n=1, cutoff=0.5)
    return f"did you mean {folded[match[0]]!r}?" if match else None


def image_token_of(config: Any) -> int:
    """The id of the token that stands for a patch of a picture, by either of its names."""
    found = getattr(config, "image_token_id", None)
    return int(config.image_token_index if found is None else found)


def sliding_window(config: Any) -> int | None:
    """How many tokens back every layer of the text model sees; None without such a limit.

    Raises:
        ModelError: layers differ, so that one attention mask cannot serve them all.
    """
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or (["sliding_attention"] if window else []))
    if not window or kinds <= {"full_attention"}:
        return None
    if kinds != {"sliding_attention"}:
        raise ModelError(f"expected layers of one kind of attention, got {', '.join(sorted(kinds))}")
    return int(window)


def why_not_packed(config: Any) -> str:
    """Why several questions cannot share a row in this model; empty where they can."""
    attention = str(getattr(config.get_text_config(), "_attn_implementation", None) or "sdpa")
    if attention not in ("sdpa", "eager"):
        return f"{attention} takes no attention mask of one's own"
    try:
        window = sliding_window(config)
    except ModelError as error:
        return error.message
    if window and family_of(config).positions == "grid":
        return "a sliding window over picture grids is not packed"
    return ""
