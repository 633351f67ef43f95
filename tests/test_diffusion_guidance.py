"""Separate guidance for the person, against the formula written out."""

from __future__ import annotations

import pytest
import torch

from prefgen.diffusion import latents_for, sample
from tiny_diffusion import generators, random_tokens, tiny_pipeline, trained_adapter

PROMPTS = ["a fox", "a cat"]


@pytest.mark.parametrize(("text_scale", "user_scale"), [(3.0, 2.0), (3.0, 0.0), (3.0, -1.0), (1.0, 2.5)])
@torch.no_grad()
def test_one_step_is_the_formula(text_scale: float, user_scale: float) -> None:
    pipe, tokens = tiny_pipeline(), random_tokens(2)
    adapter = trained_adapter(pipe.unet)
    ours = sample(
        pipe,
        adapter,
        PROMPTS,
        tokens,
        generators=generators(2),
        guidance_scale=text_scale,
        dislikes="beside",
        user_guidance_scale=user_scale,
        num_inference_steps=1,
        output_type="latent",
    )

    noise = latents_for([0, 1], (4, 8, 8))
    text, empty = pipe.encode_prompt(PROMPTS, "cpu", 1, True, None)
    pipe.scheduler.set_timesteps(1)
    (timestep,) = pipe.scheduler.timesteps
    eps_0, eps_text = (pipe.unet(noise, timestep, c).sample for c in (empty, text))
    with adapter.injected(pipe.unet), adapter.users(tokens):
        eps_user = pipe.unet(noise, timestep, text).sample
    eps = eps_0 + text_scale * (eps_text - eps_0) + user_scale * (eps_user - eps_text)
    torch.testing.assert_close(ours, noise - pipe.scheduler.sigmas[0] * eps, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_equal_scales_are_the_default_and_zero_is_the_plain_model() -> None:
    pipe, tokens = tiny_pipeline(), random_tokens(2)
    adapter = trained_adapter(pipe.unet)
    arguments = {"guidance_scale": 3.0, "num_inference_steps": 3, "output_type": "latent"}

    def paint(**more):
        return sample(pipe, adapter, PROMPTS, tokens, generators=generators(2), dislikes="beside", **arguments, **more)

    plain = pipe(PROMPTS, generator=generators(2), **arguments).images
    torch.testing.assert_close(paint(user_guidance_scale=3.0), paint(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(paint(user_guidance_scale=0.0), plain, atol=1e-4, rtol=1e-3)
    nobody = sample(
        pipe, adapter, PROMPTS, tokens.nobody(), generators=generators(2), user_guidance_scale=5.0, **arguments
    )
    torch.testing.assert_close(nobody, plain, atol=1e-4, rtol=1e-3)
