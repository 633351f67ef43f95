"""CLIP-T, CLIP-I, and every score that is a cosine in a CLIP space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prefgen.benchmark.scorers.weights import found

CLIP_L14 = "openai/clip-vit-large-patch14"
BATCH = 32


class ClipScorer:
    """A `CLIPModel` and its processor.

    `clip_t` is the cosine of CLIPScore (arXiv 2104.08718; without its factor 2.5), `clip_i` that of two pictures
    (arXiv 2208.12242), `scaled` the cosine times the model's temperature, as PickScore and HPSv2 give it.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval(), processor

    @classmethod
    def from_pretrained(cls, name: str = CLIP_L14, processor: str | None = None) -> ClipScorer:
        """From a folder or hub name; `processor` where it lies elsewhere. Raises `ModelError` without weights."""
        from transformers import CLIPModel, CLIPProcessor

        return found(
            name,
            "a CLIP",
            lambda: cls(
                CLIPModel.from_pretrained(name, use_safetensors=True), CLIPProcessor.from_pretrained(processor or name)
            ),
        )

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """float32 [n, d]: unit picture embeddings."""
        parts = []
        for i in range(0, len(pictures), BATCH):
            pixels = self.processor.image_processor(images=list(pictures[i : i + BATCH]), return_tensors="pt")
            parts.append(_pooled(self.model.get_image_features(pixel_values=pixels.pixel_values.to(self.model.device))))
        return torch.nn.functional.normalize(torch.cat(parts).float(), dim=-1)

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Tensor:
        """float32 [n, d]: unit text embeddings; long prompts are cut at the tower's length."""
        length = self.model.config.text_config.max_position_embeddings
        settings = {"padding": "max_length", "truncation": True, "max_length": length, "return_tensors": "pt"}
        batch = self.processor.tokenizer(list(prompts), **settings).to(self.model.device)
        features = self.model.get_text_features(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        return torch.nn.functional.normalize(_pooled(features).float(), dim=-1)

    def clip_t(self, prompts: Sequence[str], pictures: Sequence[Image.Image]) -> np.ndarray:
        """float [n]: cosine of each picture and its prompt."""
        return (self.images(pictures) * self.texts(prompts)).sum(-1).cpu().numpy()

    def clip_i(self, pictures: Sequence[Image.Image], references: Sequence[Image.Image]) -> np.ndarray:
        """float [n]: mean cosine of each picture and all references."""
        return (self.images(pictures) @ self.images(references).T).mean(-1).cpu().numpy()

    def scaled(self, prompts: Sequence[str], pictures: Sequence[Image.Image]) -> np.ndarray:
        """float [n]: `clip_t` times the exponent of the model's `logit_scale`."""
        return self.clip_t(prompts, pictures) * float(self.model.logit_scale.detach().exp())


def _pooled(features: Any) -> Tensor:
    """transformers 5 gives an output object whose pooler output is the projected vector, earlier ones the vector."""
    return getattr(features, "pooler_output", features)
