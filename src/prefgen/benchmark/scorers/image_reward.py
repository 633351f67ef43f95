"""ImageReward (arXiv 2304.05977): BLIP reads picture and prompt together, a head gives the score.

Expressed on transformers' BLIP: the text encoder is a `BlipTextModel` whose configuration says decoder, so that it has
cross-attention, called with its default, which is not causal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prefgen.benchmark.scorers.reward_head import RewardHead
from prefgen.benchmark.scorers.weights import found, state_of

MEAN, SPREAD = 0.16717362830052426, 1.0333394966054072
"""Of the raw score over the training data, as published: scores are standardised with them."""
N_TOKENS = 35
TOKENIZER = "bert-base-uncased"
_VISION = (
    ("patch_embed.proj", "embeddings.patch_embedding"),
    ("blocks.", "encoder.layers."),
    (".norm1", ".layer_norm1"),
    (".norm2", ".layer_norm2"),
    (".attn.qkv", ".self_attn.qkv"),
    (".attn.proj", ".self_attn.projection"),
)
_VISION_WHOLE = {"cls_token": "embeddings.class_embedding", "pos_embed": "embeddings.position_embedding"}


def parts_of(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The published state dict as those of `vision`, `text` and `head`, under transformers' names."""
    parts: dict[str, dict[str, Tensor]] = {"vision": {}, "text": {}, "head": {}}
    for key, value in state.items():
        if key.startswith("blip.visual_encoder."):
            name = key.removeprefix("blip.visual_encoder.")
            for theirs, ours in _VISION:
                name = name.replace(theirs, ours)
            if name.startswith("norm."):
                name = "post_layernorm." + name.removeprefix("norm.")
            parts["vision"][_VISION_WHOLE.get(name, name)] = value
        elif key.startswith("blip.text_encoder.") and not key.endswith("position_ids"):
            parts["text"][key.removeprefix("blip.text_encoder.")] = value
        elif key.startswith("mlp."):
            parts["head"][key.removeprefix("mlp.")] = value
    return parts


def new_towers(vision: Mapping[str, Any] | None = None, text: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    """An untrained vision and text tower of ImageReward's size (ViT-L/16 and BERT base), or with other settings."""
    from transformers import BlipTextConfig, BlipVisionConfig, BlipVisionModel
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    base = {"vocab_size": 30524, "hidden_size": 768, "intermediate_size": 3072, "max_position_embeddings": 512}
    seen = BlipVisionConfig(**{**large, "image_size": 224, "patch_size": 16, "layer_norm_eps": 1e-6, **(vision or {})})
    depth = {"num_hidden_layers": 12, "num_attention_heads": 12, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
    read = {**base, **depth, "encoder_hidden_size": seen.hidden_size, "pad_token_id": 0, **(text or {})}
    return BlipVisionModel(seen), BlipTextModel(BlipTextConfig(**read, is_decoder=True), add_pooling_layer=False)


class ImageReward:
    """How well a picture answers its prompt, as people on the whole would say; about 0 on average, spread about 1."""

    def __init__(self, vision: Any, text: Any, head: RewardHead, tokenizer: Any, processor: Any) -> None:
        self.vision, self.text, self.head = vision.eval(), text.eval(), head.eval()
        self.tokenizer, self.processor = tokenizer, processor

    @classmethod
    def from_pretrained(cls, path: str | Path, tokenizer: str = TOKENIZER) -> ImageReward:
        """From the published weights as a safetensors file (hub: THUDM/ImageReward, `ImageReward.pt`, a pickle)."""
        from transformers import AutoTokenizer, CLIPImageProcessorPil

        parts = parts_of(state_of(path, "ImageReward"))
        vision, text = new_towers()
        head = RewardHead(text.config.hidden_size)
        for name, module in (("vision", vision), ("text", text), ("head", head)):
            found(str(path), "ImageReward", lambda name=name, module=module: module.load_state_dict(parts[name]))
        words = found(tokenizer, "a BERT tokenizer", lambda: AutoTokenizer.from_pretrained(tokenizer))
        side = vision.config.image_size
        size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
        return cls(vision, text, head, words, CLIPImageProcessorPil(**size))

    @torch.no_grad()
    def score(self, prompts: Sequence[str], pictures: Sequence[Image.Image]) -> np.ndarray:
        """float [n]: each picture for its prompt."""
        pixels = self.processor(images=list(pictures), return_tensors="pt").pixel_values
        seen = self.vision(pixel_values=pixels.to(next(self.vision.parameters()))).last_hidden_state
        settings = {"padding": "max_length", "truncation": True, "max_length": N_TOKENS, "return_tensors": "pt"}
        words = self.tokenizer(list(prompts), **settings).to(seen.device)
        read = self.text(
            input_ids=words.input_ids,
            attention_mask=words.attention_mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
            return_dict=True,
        ).last_hidden_state[:, 0]
        return ((self.head(read) - MEAN) / SPREAD).float().cpu().numpy()
