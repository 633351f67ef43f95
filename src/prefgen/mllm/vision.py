"""Each picture's tokens, made once: a least-recently-used cache by content."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from prefgen.core import content_hash


class VisionCache:
    """Picture tokens [n_tokens, d] by content hash; a picture alone has the tokens it has among others."""

    def __init__(self, model: Any, processor: Any, max_items: int = 1024) -> None:
        self.model, self.processor, self.max_items = model, processor, max_items
        self.kept: OrderedDict[str, Tensor] = OrderedDict()
        self.n_computed = 0

    def tokens(self, pictures: list[Any]) -> list[Tensor]:
        """Tokens of each picture. A tensor stands for itself: it is taken for tokens made before."""
        known: dict[str, Tensor] = {}
        names = [None if isinstance(p, Tensor) else content_hash(p) for p in pictures]
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
        return [(p if name is None else known[name]).to(device) for name, p in zip(names, pictures)]

    @torch.no_grad()
    def _compute(self, picture: Image.Image) -> Tensor:
        pixels = self.processor.image_processor([[picture.convert("RGB")]], return_tensors="pt").to(self.model.device)
        features = self.model.model.get_image_features(**pixels).pooler_output
        tokens = torch.cat(tuple(features)) if isinstance(features, (list, tuple)) else features.flatten(0, -2)
        return tokens.detach().float()
