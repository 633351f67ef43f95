"""How many tokens a picture may take, so that a whole history fits what a model can read."""

from __future__ import annotations

from math import isqrt
from typing import Any

from prefgen.core import ConfigError, ModelError
from prefgen.mllm.families import Family


def set_picture_budget(
    processor: Any,
    family: Family,
    *,
    max_side_px: int | None = None,
    image_tokens: int | None = None,
    split_images: bool = False,
) -> None:
    """Sets the processor so that no picture takes more than `image_tokens` tokens or is read above `max_side_px`.

    What can be set differs: Idefics2 takes 64 tokens at any size, and five times that when pictures are split; Idefics3
    and SmolVLM read tiles of one size, and several of them when split; Qwen takes a token for each 28 or 32 px square,
    so that `max_side_px` bounds a picture's area by that of a square; LLaVA-OneVision reads one size.

    Raises:
        ConfigError: a budget that is no positive whole number, or below what the family needs for one picture.
    """
    for name, value in (("max_side_px", max_side_px), ("image_tokens", image_tokens)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(f"expected {name} to be a whole number from 1 up, got {value!r}")
    setters = {"idefics2": _idefics2, "idefics3": _tiles, "smolvlm": _tiles, "llava_onevision": _one_size}
    setters.get(family.model_type, _area)(processor, family, max_side_px, image_tokens, split_images)


def check_fits(n_tokens: int, context_tokens: int) -> None:
    """Raises `ModelError` where a prompt is longer than the model can read."""
    if n_tokens > context_tokens:
        raise ModelError(
            f"expected a history of at most {context_tokens} tokens, got one of {n_tokens}",
            hint="show fewer pictures, or load the model with a lower image_tokens or max_side_px",
        )


def _at_least(needed: int, given: int | None, what: str) -> None:
    if given is not None and given < needed:
        raise ConfigError(f"expected {what} from {needed} up for this model, got {given}")


def _idefics2(processor: Any, family: Family, side_px: int | None, tokens: int | None, split: bool) -> None:
    images = processor.image_processor
    _at_least(processor.image_seq_len * (5 if split else 1), tokens, "image_tokens")
    images.do_image_splitting = split
    if side_px is None:
        return
    size = _size(images.size)
    images.size = {name: min(value, side_px) for name, value in size.items()}


def _tiles(processor: Any, family: Family, side_px: int | None, tokens: int | None, split: bool) -> None:
    """The whole picture as one tile, and before it, when split, its parts as further tiles."""
    images = processor.image_processor
    tile_px, per_tile = _size(images.max_image_size)["longest_edge"], processor.image_seq_len
    _at_least(tile_px, side_px, "max_side_px")
    _at_least(per_tile, tokens, "image_tokens")
    across = _size(images.size)["longest_edge"] // tile_px if split else 1
    if side_px is not None:
        across = min(across, side_px // tile_px)
    if tokens is not None:
        across = min(across, isqrt(max(tokens // per_tile - 1, 1)))
    images.do_image_splitting = split and across > 1
    images.size = {"longest_edge": max(across, 1) * tile_px}


def _area(processor: Any, family: Family, side_px: int | None, tokens: int | None, split: bool) -> None:
    if split:
        raise ConfigError(f"expected split_images=False for {family.model_type}, which reads pictures whole")
    images = processor.image_processor
    square = (images.patch_size * images.merge_size) ** 2
    size = _size(images.size)
    limits = [size["longest_edge"], (tokens or family.image_tokens or size["longest_edge"]) * square]
    if side_px is not None:
        _at_least(images.patch_size * images.merge_size, side_px, "max_side_px")
        limits.append(side_px**2)
    images.size = {"shortest_edge": min(size["shortest_edge"], *limits), "longest_edge": min(limits)}


def _one_size(processor: Any, family: Family, side_px: int | None, tokens: int | None, split: bool) -> None:
    if split:
        raise ConfigError(
            f"expected split_images=False for {family.model_type}: it reads one of several pictures whole"
        )
    size = _size(processor.image_processor.size)
    _at_least(max(size.values()), side_px, "max_side_px")
    _at_least(processor.num_image_tokens + 1, tokens, "image_tokens")


def _size(size: Any) -> dict[str, int]:
    """A processor's size as a plain dictionary of what is set."""
    pairs = size.items() if hasattr(size, "items") else vars(size).items()
    return {name: int(value) for name, value in pairs if value is not None}
