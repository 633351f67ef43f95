"""What is measured, at its published size and at a tiny one of the same classes, which shows that the code runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefgen.recipes.full_presets import FULL_PRESETS, published

_PRESET = FULL_PRESETS["sdxl-idefics2"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Records of a generator and of a language model (as `published` gives them), and how much they are given."""

    name: str
    generator: Mapping[str, Any]
    mllm: Mapping[str, Any]
    user_tokens: int = _PRESET.user_tokens
    n_steps: int = 30
    guidance_scale: float = 5.0
    n_history: int = 16
    """Pictures of an embedding: eight liked, eight disliked."""
    conversation_pictures: int = _PRESET.history_pictures
    """Pictures of a training conversation: a history and one that is asked about."""
    text_tokens: int = _PRESET.text_tokens
    lora_rank: int = _PRESET.lora_rank


def full() -> Size:
    """SDXL and IDEFICS2-8B."""
    return Size(name="full", generator=published(_PRESET.backbone), mllm=published(_PRESET.mllm))


def tiny() -> Size:
    """The same classes at a width of 32: seconds on two cores, and figures that say nothing of speed."""
    return Size(name="tiny", generator=TINY_SDXL, mllm=TINY_IDEFICS2, n_steps=2, text_tokens=16)


def _text_encoder(kind: str) -> dict[str, Any]:
    config = {
        "vocab_size": 514,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "projection_dim": 32,
        "bos_token_id": 512,
        "eos_token_id": 513,
    }
    return {"class": kind, "config": config}


TINY_SDXL: dict[str, Any] = {
    "side_px": 64,
    "network": {
        "class": "UNet2DConditionModel",
        "config": published("sdxl")["network"]["config"]
        | {
            "sample_size": 8,
            "cross_attention_dim": 64,
            "attention_head_dim": [2, 4, 4],
            "block_out_channels": [16, 32, 32],
            "norm_num_groups": 8,
            "layers_per_block": 1,
            "transformer_layers_per_block": [1, 1, 2],
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 80,
        },
    },
    "vae": {
        "class": "AutoencoderKL",
        "config": published("sdxl")["vae"]["config"]
        | {"block_out_channels": [8, 8, 16, 16], "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 64},
    },
    "text_encoders": [_text_encoder("CLIPTextModel"), _text_encoder("CLIPTextModelWithProjection")],
    "n_words": 77,
}

TINY_IDEFICS2: dict[str, Any] = {
    "model_type": "idefics2",
    "tokens_per_picture": 4,
    "side_px": 56,
    "config": {
        "image_token_id": 599,
        "tie_word_embeddings": False,
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
        },
        "perceiver_config": {
            "hidden_size": 32,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
        },
        "text_config": {
            "model_type": "mistral",
            "vocab_size": 600,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "sliding_window": 128,
        },
    },
}
