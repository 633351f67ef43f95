"""The generator: a stock diffusers Stable Diffusion pipeline whose UNet predicts the velocity of a straight path."""

from __future__ import annotations

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from prefgen.core import ConfigError

N_TRAIN_TIMESTEPS = 1000
"""A model is told `1000·t`, the timestep scale of every stock scheduler."""


def flow_scheduler(flow_shift: float = 1.0) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ (2M, arXiv 2211.01095) over `x_t = (1-t)·data + t·noise`, for models that predict `noise - data`.

    `flow_shift` s moves the steps towards noise, `t → s·t/(1+(s-1)·t)`: 1 leaves them even, larger pictures want
    more (arXiv 2403.03206, §5.3.2). Sampling starts at t = 0.999·s/(1+0.999·(s-1)) and ends at exactly 0; the model is
    told `1000·t` rounded down to an integer.
    """
    if flow_shift <= 0:
        raise ConfigError(f"expected a flow_shift above 0, got {flow_shift}")
    return DPMSolverMultistepScheduler(
        num_train_timesteps=N_TRAIN_TIMESTEPS,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        flow_shift=flow_shift,
        algorithm_type="dpmsolver++",
        solver_order=2,
        steps_offset=1,
        final_sigmas_type="zero",
    )


def flow_pipeline(
    *,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    flow_shift: float = 1.0,
) -> StableDiffusionPipeline:
    """Puts the parts together; `save_pretrained` writes a folder that the stock class loads without this package."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=flow_scheduler(flow_shift),  # pyright: ignore[reportArgumentType]
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
