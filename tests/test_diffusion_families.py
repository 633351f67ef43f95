"""One port, every family: a picture is its own person's, whoever is in the batch, and nobody's is the stock one."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionImg2ImgPipeline
from peft import LoraConfig
from PIL import Image

from prefgen.adapter import UserAdapter, UserTokens, network_of
from prefgen.diffusion import sample
from tiny_backbones import PIPELINES, call_arguments, silent_pipeline
from tiny_diffusion import generators, random_tokens, trained_adapter

PROMPTS = ["a fox by a lake", "a cat", "two boats"]
GUIDED = pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])
FAMILY = pytest.mark.parametrize("family", PIPELINES)


@cache
def painter(family: str) -> tuple[Any, UserAdapter]:
    pipe = silent_pipeline(family)
    return pipe, trained_adapter(network_of(pipe))


def people(adapter: UserAdapter, n: int = 3) -> UserTokens:
    return random_tokens(n, 1, adapter.d_cross)


def paint(family: str, tokens: UserTokens | None, rows=(0, 1, 2), *, guided: bool, **changes: Any) -> np.ndarray:
    """Pictures of some of the three prompts, each with its own seed."""
    pipe, adapter = painter(family)
    arguments = call_arguments(family, guided=guided) | changes
    seeds = [generators(1, row)[0] for row in rows]
    return sample(pipe, adapter, [PROMPTS[row] for row in rows], tokens, generators=seeds, **arguments)


def stock(family: str, *, guided: bool) -> np.ndarray:
    arguments = call_arguments(family, guided=guided)
    if "negative_prompt" in arguments:
        arguments["negative_prompt"] = [arguments["negative_prompt"]] * 3
    return painter(family)[0](PROMPTS, generator=generators(3), **arguments).images


@FAMILY
@GUIDED
def test_nobody_is_the_stock_pipeline_bit_for_bit(family: str, guided: bool) -> None:
    plain, tokens = stock(family, guided=guided), people(painter(family)[1])
    silent = {"like_strength": 0.0, "dislike_strength": torch.zeros(3)}
    assert np.array_equal(paint(family, None, guided=guided), plain)
    assert np.array_equal(paint(family, tokens.nobody(), guided=guided), plain)
    assert np.array_equal(paint(family, tokens, guided=guided, **silent), plain)
    assert np.abs(paint(family, tokens, guided=guided) - plain).max() > 1e-3
    assert np.array_equal(stock(family, guided=guided), plain)


@FAMILY
@GUIDED
@pytest.mark.parametrize("user_guidance_scale", [None, 2.0])
def test_each_row_is_its_own_persons_call(family: str, guided: bool, user_guidance_scale: float | None) -> None:
    tokens, strength = people(painter(family)[1]), torch.tensor([1.0, 0.6, 0.0])
    more = {"user_guidance_scale": user_guidance_scale}
    together = paint(family, tokens, guided=guided, like_strength=strength, **more)
    for row in range(3):
        alone = paint(family, tokens.row(row), (row,), guided=guided, like_strength=strength[row : row + 1], **more)
        np.testing.assert_allclose(together[row], alone[0], atol=1e-4)
    others = UserTokens(like=tokens.like.roll(1, 0), dislike=tokens.dislike.roll(1, 0))
    assert np.abs(paint(family, others, guided=guided, **more) - together).max() > 1e-3


@FAMILY
def test_dislikes_speak_in_the_unconditional_branch(family: str) -> None:
    tokens = people(painter(family)[1])
    likes, dislikes = UserTokens(like=tokens.like), UserTokens(dislike=tokens.dislike)
    both = paint(family, tokens, guided=True)
    assert np.array_equal(both, paint(family, likes, guided=True, unconditional=dislikes))
    assert np.abs(both - paint(family, likes, guided=True)).max() > 1e-3
    assert np.array_equal(paint(family, tokens, guided=False), paint(family, likes, guided=False))
    beside = paint(family, tokens, guided=False, dislikes="beside", dislike_strength=-0.5)
    assert np.abs(beside - paint(family, likes, guided=False)).max() > 1e-3


@FAMILY
@GUIDED
def test_separate_guidance_of_the_texts_scale_is_the_plain_one(family: str, guided: bool) -> None:
    tokens = UserTokens(like=people(painter(family)[1]).like)
    scale = 3.0 if guided else 1.0
    apart = paint(family, tokens, guided=guided, user_guidance_scale=scale)
    np.testing.assert_allclose(apart, paint(family, tokens, guided=guided), atol=1e-3)
    assert np.abs(paint(family, tokens, guided=guided, user_guidance_scale=scale + 2) - apart).max() > 1e-3


@FAMILY
@GUIDED
def test_the_person_is_heard_between_start_and_end(family: str, guided: bool) -> None:
    """Heard from the second of three steps on: the first step's latents are the stock pipeline's."""
    tokens, seen = people(painter(family)[1]), {}

    def keep(name: str):
        def note(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            seen[name, step] = tensors["latents"].clone()
            return tensors

        return note

    for name, who, start in (("nobody", None, 0.0), ("late", tokens, 0.3), ("always", tokens, 0.0)):
        paint(family, who, guided=guided, user_start=start, callback_on_step_end=keep(name))
    assert torch.equal(seen["late", 0], seen["nobody", 0])
    assert not torch.equal(seen["late", 1], seen["nobody", 1])
    assert not torch.equal(seen["always", 0], seen["nobody", 0])


def test_flux_without_true_guidance_says_that_dislikes_are_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    tokens = people(painter("flux")[1])
    with caplog.at_level(logging.WARNING, "prefgen"):
        paint("flux", tokens, guided=True)
        paint("flux", UserTokens(like=tokens.like), guided=False)
        assert "dislikes are not heard" not in caplog.text
        paint("flux", tokens, guided=False)
    assert "dislikes are not heard" in caplog.text


def test_skip_layer_guidance_of_sd3_hears_the_person_too() -> None:
    tokens = people(painter("sd3")[1])
    skip = {"skip_guidance_layers": [1], "skip_layer_guidance_start": -1.0, "skip_layer_guidance_stop": 2.0}
    together = paint("sd3", tokens, guided=True, **skip)
    alone = paint("sd3", tokens.row(1), (1,), guided=True, **skip)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)
    assert np.abs(together - paint("sd3", tokens, guided=True)).max() > 1e-4


@FAMILY
def test_the_network_is_left_as_it_was_after_an_error(family: str) -> None:
    pipe, adapter = painter(family)
    network = network_of(pipe)
    before = dict(network.attn_processors)

    def stop(*_: Any) -> Any:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        paint(family, people(adapter), guided=True, user_guidance_scale=2.0, callback_on_step_end=stop)
    assert all(network.attn_processors[name] is processor for name, processor in before.items())
    assert not network._forward_pre_hooks
    assert not network._forward_hooks
    assert adapter.state is None
    assert not adapter.is_injected


def noise_picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8))


def check_beside_a_person(pipe: Any, adapter: UserAdapter, images: list[Image.Image], **arguments: Any) -> None:
    """Two people in one call are two calls, nobody is stock, and the picture that came along matters."""
    pipe.set_progress_bar_config(disable=True)
    tokens, prompts = random_tokens(2, 3, adapter.d_cross), PROMPTS[:2]
    arguments = {"guidance_scale": 3.0, "num_inference_steps": 4, "output_type": "np"} | arguments
    together = sample(pipe, adapter, prompts, tokens, generators=generators(2), image=images, **arguments)
    for row in range(2):
        alone = sample(
            pipe,
            adapter,
            prompts[row : row + 1],
            tokens.row(row),
            generators=generators(1, row),
            image=images[row : row + 1],
            **arguments,
        )
        np.testing.assert_allclose(together[row], alone[0], atol=1e-4)
    plain = pipe(prompts, image=images, generator=generators(2), **arguments).images
    nobody = sample(pipe, adapter, prompts, tokens.nobody(), generators=generators(2), image=images, **arguments)
    assert np.array_equal(nobody, plain)
    assert np.abs(together - plain).max() > 1e-3
    swapped = sample(pipe, adapter, prompts, tokens, generators=generators(2), image=images[::-1], **arguments)
    assert np.abs(together - swapped).max() > 1e-3


def test_img2img_beside_a_person() -> None:
    pipe, adapter = painter("sd15")
    again = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    check_beside_a_person(again, adapter, [noise_picture(0), noise_picture(1)], strength=0.5)


def test_controlnet_beside_a_person() -> None:
    pipe, adapter = painter("sd15")
    torch.manual_seed(5)
    control = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 16)).eval()
    with torch.no_grad():
        for parameter in control.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    made = StableDiffusionControlNetPipeline(**pipe.components, controlnet=control, requires_safety_checker=False)
    check_beside_a_person(made, adapter, [noise_picture(0), noise_picture(1)], height=16, width=16)


@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_a_style_lora_beside_a_person(family: str) -> None:
    """Both are heard, each row is its own person's, and without the person it is the pipeline with its LoRA."""
    pipe = silent_pipeline(family)
    network = network_of(pipe)
    style = LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"], init_lora_weights=False)
    adapter = trained_adapter(network)
    tokens, arguments = people(adapter), call_arguments(family, guided=True)

    def painted(who: UserTokens | None) -> np.ndarray:
        return sample(pipe, adapter, PROMPTS, who, generators=generators(3), **arguments)

    without = painted(tokens)
    torch.manual_seed(6)
    network.add_adapter(style, "style")
    together, nobody = painted(tokens), painted(None)
    assert np.array_equal(painted(tokens.nobody()), nobody)
    assert np.abs(together - nobody).max() > 1e-3
    assert np.abs(together - without).max() > 1e-3
    alone = sample(pipe, adapter, PROMPTS[1:2], tokens.row(1), generators=generators(1, 1), **arguments)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)
