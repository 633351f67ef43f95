"""Published weights as they lie on a disk, tiny and random: generators and language models of the real classes."""

from __future__ import annotations

from pathlib import Path

import torch

from prefgen.recipes.full_presets import FULL_PRESETS, FullPreset
from tiny_backbones import silent_pipeline
from tiny_families import save_family

SIDE_PX = 16
FAMILY_OF = {"qwen2.5-vl": "qwen2_5_vl", "qwen3-vl": "qwen3_vl", "llava-onevision": "llava_onevision"}
"""Families of published language models whose presets call them otherwise."""
SMALLEST = {
    "side_px": SIDE_PX,
    "dtype": "float32",
    "preference_samples": 120,
    "mllm_batch": 3,
    "preference_rate": 1e-3,
    "adapter_samples": 12,
    "adapter_batch": 4,
    "choose_every": 60,
    "evaluated_people": 4,
    "probed_people": 12,
    "align_people": 6,
    "user_tokens": 2,
    "shown_people": 0,
    "load_4bit": False,
    "strings_by_model": False,
}


def picture_encoder(folder: Path) -> Path:
    """A CLIP vision tower and its preprocessing, side by side in one folder."""
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, projection_dim=24, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=16,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


def published_preset(home: Path, name: str, **changes: object) -> FullPreset:
    """A full preset whose published weights lie in `home`, made on first use."""
    backbone, mllm = name.split("-", 1)
    places = {part: home / part for part in (backbone, mllm, "clip")}
    if not places[backbone].exists():
        silent_pipeline(backbone).save_pretrained(places[backbone])
    if not places[mllm].exists():
        save_family(FAMILY_OF.get(mllm, mllm), places[mllm])
    if not places["clip"].exists():
        picture_encoder(places["clip"])
    return FULL_PRESETS[name].with_overrides(
        generator=str(places[backbone]),
        language_model=str(places[mllm]),
        image_encoder=str(places["clip"]),
        **SMALLEST | changes,
    )
