"""Each picture's tokens, made once: a least-recently-used cache by content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from prefgen.core import ModelError, content_hash
from prefgen.mllm.families import Family, family_of


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A picture as a language model is handed it.

    `tokens` float [n_tokens, d]. `text` is how it stands in a prompt, None where the processor writes that by itself
    or where it is still to be worked out.
    `deeper` are further [n_tokens, d] that some families add after their first layers (Qwen3-VL's deepstack). `grid`
    counts patches over time, height and width, where positions follow them.
    """

    tokens: Tensor
    text: str | None = None
    deeper: tuple[Tensor, ...] = ()
    grid: tuple[int, int, int] | None = None

    def to(self, device: Any) -> Seen:
        """The same on another device."""
        deeper = tuple(level.to(device) for level in self.deeper)
        return Seen(tokens=self.tokens.to(device), text=self.text, deeper=deeper, grid=self.grid)


class VisionCache:
    """Picture tokens [n_tokens, d] by content hash; a picture alone has the tokens it has among others."""

    def __init__(self, model: Any, processor: Any, max_items: int = 1024, placeholder: str | None = None) -> None:
        self.model, self.processor, self.max_items = model, processor, max_items
        self.family = family_of(model.config)
        self.placeholder = placeholder or self.family.placeholder
        self.kept: OrderedDict[str, Seen] = OrderedDict()
        self.n_computed = 0

    def tokens(self, pictures: list[Any]) -> list[Tensor]:
        """Tokens of each picture. A tensor stands for itself: it is taken for tokens made before."""
        return [seen.tokens for seen in self.seen(pictures)]

    def seen(self, pictures: Sequence[Any]) -> list[Seen]:
        """Each picture as the language model is handed it. A tensor of tokens, or a `Seen`, stands for itself."""
        known: dict[str, Seen] = {}
        names = [None if isinstance(p, (Tensor, Seen)) else content_hash(p) for p in pictures]
        for name, picture in zip(names, pictures):
            if name is None or name in known:
                continue
            if name in self.kept:
                self.kept.move_to_end(name)
            else:
                self.kept[name] = self._compute(picture)
                self.n_computed += 1
            known[name] = self.kept[name]
        while len(self.kept) > self.max_items:
            self.kept.popitem(last=False)
        device = self.model.device
        return [(self._given(p) if name is None else known[name]).to(device) for name, p in zip(names, pictures)]

    def _given(self, picture: Tensor | Seen) -> Seen:
        """As it is handed over, with the text that a `Seen` without one, or a tensor, stands for."""
        seen = Seen(tokens=picture) if isinstance(picture, Tensor) else picture
        if seen.text is not None:
            return seen
        text, is_laid_out = None, self.family.positions == "grid" and seen.grid is None
        if self.family.wording == "seen":
            text, n_tokens = self._whole_picture
            is_laid_out = self._splits or len(seen.tokens) != n_tokens
        elif self.family.wording == "run":
            text = self._run(len(seen.tokens))
        if is_laid_out:
            raise ModelError(
                f"expected a picture for {self.family.model_type}, got a tensor of tokens, which has no layout",
                hint="hand over what VisionCache.seen returned",
            )
        return replace(seen, text=text)

    @property
    def _splits(self) -> bool:
        """Whether pictures are also read in parts."""
        return bool(getattr(self.processor.image_processor, "do_image_splitting", False))

    @cached_property
    def _whole_picture(self) -> tuple[str | None, int]:
        """How a picture that is read as a whole stands in a prompt, and how many tokens it has: all of them alike."""
        seen = self._compute(Image.new("RGB", (64, 64)))
        return seen.text, len(seen.tokens)

    @torch.no_grad()
    def _compute(self, picture: Image.Image) -> Seen:
        picture = picture.convert("RGB")
        pixels = pixels_of(self.processor, self.family, picture)
        features = self.model.model.get_image_features(**_on(pixels, self.model.device))
        pooled = features.pooler_output
        tokens = torch.cat(tuple(pooled)) if isinstance(pooled, (list, tuple)) else pooled.flatten(0, -2)
        deeper = getattr(features, "deepstack_features", None) or ()
        return Seen(
            tokens=tokens.detach().float(),
            text=self._text(picture, len(tokens)),
            deeper=tuple(_level(level).detach().float() for level in deeper),
            grid=tuple(pixels["image_grid_thw"][0].tolist()) if "image_grid_thw" in pixels else None,
        )

    def _text(self, picture: Image.Image, n_tokens: int) -> str | None:
        if self.family.wording == "processor":
            return None
        if self.family.wording == "run":
            return self._run(n_tokens)
        token = self.processor.image_token
        written = self.processor(text=[token], images=[[picture]], add_special_tokens=False)["input_ids"][0]
        written = self.processor.tokenizer.decode(written, clean_up_tokenization_spaces=False)
        return self.placeholder.replace(token, written)

    def _run(self, n_tokens: int) -> str:
        return self.placeholder.replace(self.processor.image_token, self.processor.image_token * n_tokens)


def pixels_of(processor: Any, family: Family, picture: Image.Image) -> dict[str, Tensor]:
    """What the model's eye is handed of one picture, laid out as among others."""
    if family.lone_picture_differs:  # two of the same make the layout that of several; the first is kept
        both = processor.image_processor([[picture, picture]], return_tensors="pt")
        lone = {name: both[name][:1] for name in ("pixel_values", "image_sizes")}
        return {**lone, "batch_num_images": torch.tensor([2])}
    return dict(processor.image_processor([[picture]], return_tensors="pt"))


def _on(pixels: dict[str, Tensor], device: Any) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in pixels.items()}


def _level(level: Any) -> Tensor:
    return torch.cat(tuple(level)) if isinstance(level, (list, tuple)) else level
