"""Stock pipelines of every family, random and tiny; see `tiny_diffusion` for their networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTextModelWithProjection, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from tiny_diffusion import (
    D_CROSS,
    tiny_flux_transformer,
    tiny_sd3_transformer,
    tiny_sdxl_pipeline,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_unet,
    tiny_vae,
)


def tiny_t5() -> T5EncoderModel:
    """A one-layer T5 encoder."""
    torch.manual_seed(1)
    return T5EncoderModel(T5Config(vocab_size=64, d_model=D_CROSS, d_kv=8, d_ff=16, num_layers=1, num_heads=4)).eval()


def tiny_t5_tokenizer() -> PreTrainedTokenizerFast:
    """Letters as words."""
    words = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz "])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    )


def tiny_vae_of(latent_channels: int) -> AutoencoderKL:
    """An autoencoder of the newer kind, with a shift: 2 pixels a latent."""
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=1.5,
        shift_factor=0.06,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def tiny_sd15_pipeline(**scheduler: Any) -> StableDiffusionPipeline:
    """Stable Diffusion 1.5's kind: predicts the noise."""
    return StableDiffusionPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_text_encoder(),
        tokenizer=tiny_tokenizer(),
        unet=tiny_unet(),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            steps_offset=1,
            set_alpha_to_one=False,
            **scheduler,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sd3_pipeline() -> StableDiffusion3Pipeline:
    """Stable Diffusion 3.5's kind: three text encoders, flow matching."""
    # the pooled embedding is that of both CLIP encoders
    transformer = tiny_sd3_transformer(pooled_projection_dim=64)
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=tiny_vae_of(4),
        text_encoder=tiny_text_encoder(CLIPTextModelWithProjection),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=tiny_text_encoder(CLIPTextModelWithProjection),
        tokenizer_2=tiny_tokenizer(),
        text_encoder_3=tiny_t5(),
        tokenizer_3=tiny_t5_tokenizer(),
    )


def tiny_flux_pipeline() -> FluxPipeline:
    """FLUX's kind: latents packed two by two, distilled guidance."""
    return FluxPipeline(
        transformer=tiny_flux_transformer(guidance_embeds=True),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=tiny_vae_of(1),
        text_encoder=tiny_text_encoder(),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=tiny_t5(),
        tokenizer_2=tiny_t5_tokenizer(),
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "sd15": tiny_sd15_pipeline,
    "sdxl": tiny_sdxl_pipeline,
    "sd3": tiny_sd3_pipeline,
    "flux": tiny_flux_pipeline,
}


def silent_pipeline(family: str) -> Any:
    """One of `PIPELINES` without progress bars."""
    pipe = PIPELINES[family]()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call_arguments(family: str, *, guided: bool) -> dict[str, Any]:
    """What a short call of the family takes, with classifier-free guidance or without."""
    given: dict[str, Any] = {"height": 16, "width": 16, "num_inference_steps": 3, "output_type": "np"}
    if family == "flux":
        true_guidance = {"true_cfg_scale": 3.0, "negative_prompt": ""} if guided else {}
        return given | {"guidance_scale": 3.5, "max_sequence_length": 12} | true_guidance
    longest = {"max_sequence_length": 12} if family == "sd3" else {}
    return given | {"guidance_scale": 3.0 if guided else 1.0} | longest
