"""A random Idefics2 of width 32 with its processor, made on the spot, and histories of noise pictures."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from prefgen.core import History, HistoryItem, Side
from prefgen.mllm import PreferenceMLLM, new_idefics2, new_processor, train_tokenizer

N_IMAGE_TOKENS = 3
TEXTS = [
    "User: I like: I dislike: I like gold. Does the user like this image?",
    "Assistant: Yes No First Second",
    " What does this user like? What does this user dislike? gold pop art, because of (very much, long ago)",
    " Yes. No. First. Second. Yes, because of gold. No, because of olive.",
] * 20


@lru_cache
def tiny_processor() -> Any:
    """Processor and tokenizer; 32 px pictures."""
    return new_processor(train_tokenizer(TEXTS, 420), n_image_tokens=N_IMAGE_TOKENS, side_px=32)


def tiny_model(seed: int = 0, n_layers: int = 3) -> Any:
    """A fresh model."""
    return new_idefics2(
        tiny_processor(),
        width=32,
        n_layers=n_layers,
        vision_width=32,
        vision_layers=1,
        side_px=32,
        patch_px=8,
        seed=seed,
    ).eval()


@lru_cache
def tiny_mllm() -> PreferenceMLLM:
    """A port around a random model."""
    return PreferenceMLLM(
        tiny_model(), tiny_processor(), words=[("gold", "palette"), ("pop art", "movement"), ("olive", "palette")]
    )


def noise(seed: int, side_px: int = 32) -> Image.Image:
    """A picture of noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8))


def history(n_liked: int, n_disliked: int, seed: int = 0, **changes: Any) -> History:
    """A history of noise pictures."""
    sides: list[Side] = ["like"] * n_liked + ["dislike"] * n_disliked
    return History(
        items=tuple(HistoryItem(image=noise(100 * seed + i), side=s, **changes) for i, s in enumerate(sides))
    )
