"""Generators behind one port: assembling, sampling for people, guidance, and the flow-matching loss."""

from prefgen.diffusion.backbone import N_TRAIN_TIMESTEPS, flow_pipeline, flow_scheduler
from prefgen.diffusion.guidance import separate_user_guidance
from prefgen.diffusion.interval import check_interval, is_heard
from prefgen.diffusion.sampling import latents_for, sample
from prefgen.diffusion.training import (
    FlowLoss,
    flow_matching_loss,
    noise_like,
    noisy_latents,
    sample_times,
    velocity_target,
)

__all__ = [
    "N_TRAIN_TIMESTEPS",
    "FlowLoss",
    "check_interval",
    "flow_matching_loss",
    "flow_pipeline",
    "flow_scheduler",
    "is_heard",
    "latents_for",
    "noise_like",
    "noisy_latents",
    "sample",
    "sample_times",
    "separate_user_guidance",
    "velocity_target",
]
