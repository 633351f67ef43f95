"""Generators of every family behind one port: assembling, sampling for people, guidance, and their losses."""

from prefgen.diffusion.backbone import N_TRAIN_TIMESTEPS, flow_pipeline, flow_scheduler
from prefgen.diffusion.conditions import Conditions, encode_pictures, encode_prompts, predictor
from prefgen.diffusion.guidance import separate_user_guidance
from prefgen.diffusion.interval import check_interval, is_heard
from prefgen.diffusion.objectives import (
    Objective,
    backbone_loss,
    flow_weights,
    flux_time_mean,
    min_snr_weights,
    noise_prediction_loss,
    objective_of,
)
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
    "Conditions",
    "FlowLoss",
    "Objective",
    "backbone_loss",
    "check_interval",
    "encode_pictures",
    "encode_prompts",
    "flow_matching_loss",
    "flow_pipeline",
    "flow_scheduler",
    "flow_weights",
    "flux_time_mean",
    "is_heard",
    "latents_for",
    "min_snr_weights",
    "noise_like",
    "noise_prediction_loss",
    "noisy_latents",
    "objective_of",
    "predictor",
    "sample",
    "sample_times",
    "separate_user_guidance",
    "velocity_target",
]
