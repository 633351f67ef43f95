"""Tiny random bases, IP-Adapters and a vision-language model, in the layouts in which real ones are published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from tiny_diffusion import tiny_sdxl_pipeline, tiny_text_encoder, tiny_tokenizer, tiny_unet, tiny_vae
from tiny_mllm import tiny_model, tiny_processor

D_PICTURE = {"sd15": 16, "sdxl": 20}
"""Widths of the two picture encoders' embeddings."""
HOME = {"sd15": "models", "sdxl": "sdxl_models"}


def tiny_sd15() -> StableDiffusionPipeline:
    """Stable Diffusion 1.5's classes and scheduler."""
    return StableDiffusionPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_text_encoder(),
        tokenizer=tiny_tokenizer(),
        unet=tiny_unet(),
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


BASES = {"sd15": tiny_sd15, "sdxl": tiny_sdxl_pipeline}


def save_base(kind: str, folder: Path) -> Path:
    """A base's folder."""
    BASES[kind]().save_pretrained(folder)
    return folder


def adapter_state(unet: Any, d_picture: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """A plain IP-Adapter's flat weights for a UNet: four tokens a picture."""
    draw, d_cross = torch.Generator().manual_seed(seed), unet.config.cross_attention_dim

    def random(*shape: int) -> torch.Tensor:
        return 0.5 * torch.randn(shape, generator=draw)

    state = {
        "image_proj.proj.weight": random(4 * d_cross, d_picture),
        "image_proj.proj.bias": random(4 * d_cross),
        "image_proj.norm.weight": 1 + random(d_cross),
        "image_proj.norm.bias": random(d_cross),
    }
    sites = [name.removesuffix(".processor") for name in unet.attn_processors if "attn2" in name]
    for k, name in enumerate(sites):
        width = unet.get_submodule(name).to_k.out_features
        state |= {f"ip_adapter.{2 * k + 1}.to_{x}_ip.weight": random(width, d_cross) for x in "kv"}
    return state


def save_encoder(folder: Path, d_picture: int) -> None:
    """A CLIP picture encoder of 32 px."""
    torch.manual_seed(6)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPVisionConfig(**sizes, projection_dim=d_picture, image_size=32, patch_size=16)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def save_adapters(folder: Path) -> Path:
    """Both bases' adapters, each beside its encoder, where h94/IP-Adapter has them."""
    for kind, home in HOME.items():
        (folder / home).mkdir(parents=True)
        state = adapter_state(BASES[kind]().unet, D_PICTURE[kind])
        save_file(state, folder / home / f"ip-adapter_{kind}.safetensors")
        save_encoder(folder / home / "image_encoder", D_PICTURE[kind])
    return folder


def save_vlm(folder: Path) -> Path:
    """A random Idefics2 with its processor."""
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder
