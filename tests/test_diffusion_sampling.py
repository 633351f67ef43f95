"""A picture is decided by its own prompt, seed and user; the plain pipeline's by nothing of ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prefgen.adapter import UserTokens, concatenate_users
from prefgen.core import PrefGenError
from prefgen.diffusion import latents_for, sample
from tiny_diffusion import (
    generators,
    random_tokens,
    tiny_pipeline,
    tiny_sdxl_pipeline,
    trained_adapter,
)

PROMPTS = ["a fox by a lake", "a cat", "two boats"]


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def adapter(pipe):
    return trained_adapter(pipe.unet)


def paint(pipe, adapter, tokens, prompts=PROMPTS, seed=0, **arguments):
    settings = {"guidance_scale": 3.0, "num_inference_steps": 3, "output_type": "np"} | arguments
    return sample(pipe, adapter, prompts, tokens, generators=generators(len(prompts), seed), **settings)


def stock(pipe, prompts=PROMPTS, **arguments):
    settings = {"guidance_scale": 3.0, "num_inference_steps": 3, "output_type": "np"} | arguments
    return pipe(prompts, generator=generators(len(prompts)), **settings).images


def rows(tokens: UserTokens, chosen: slice) -> UserTokens:
    return UserTokens(like=tokens.like[chosen], dislike=tokens.dislike[chosen])


def test_returns_pil_pictures_by_default(pipe, adapter) -> None:
    images = sample(pipe, adapter, PROMPTS[:1], random_tokens(1), generators=generators(1), num_inference_steps=1)
    assert [image.size for image in images] == [(16, 16)]


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_nobody_is_the_plain_pipeline_bit_for_bit(pipe, adapter, guidance_scale: float) -> None:
    plain = stock(pipe, guidance_scale=guidance_scale, negative_prompt=["blurry"] * 3)
    tokens = random_tokens(3)
    cases = [
        (None, None, {}),
        (adapter, None, {}),
        (adapter, UserTokens(), {}),
        (adapter, tokens.nobody(), {}),
        (adapter, tokens, {"like_strength": 0.0, "dislike_strength": torch.zeros(3)}),
    ]
    for who, users, strengths in cases:
        ours = paint(pipe, who, users, guidance_scale=guidance_scale, negative_prompt="blurry", **strengths)
        assert np.array_equal(ours, plain)
    assert not np.array_equal(paint(pipe, adapter, tokens, guidance_scale=guidance_scale), plain)
    assert np.array_equal(stock(pipe, guidance_scale=guidance_scale, negative_prompt=["blurry"] * 3), plain)


@pytest.mark.parametrize("user_guidance_scale", [None, 2.0])
def test_strangers_change_nothing_at_equal_batch_shape(pipe, adapter, user_guidance_scale) -> None:
    mine = rows(random_tokens(3), slice(1, 2))
    strangers = random_tokens(2, seed=50)
    arguments = {"user_guidance_scale": user_guidance_scale}
    ours = paint(pipe, adapter, random_tokens(3), **arguments)
    mixed = concatenate_users([rows(strangers, slice(0, 1)), mine, rows(strangers, slice(1, 2))])
    theirs = paint(pipe, adapter, mixed, prompts=["rain", PROMPTS[1], ""], **arguments)
    alone_with_nobodies = paint(pipe, adapter, concatenate_users([None, mine, None]), **arguments)
    assert np.array_equal(ours[1], theirs[1])
    assert np.array_equal(ours[1], alone_with_nobodies[1])
    assert not np.array_equal(ours[0], theirs[0])


@pytest.mark.parametrize("user_guidance_scale", [None, 2.0])
def test_alone_as_in_a_batch(pipe, adapter, user_guidance_scale) -> None:
    tokens, strength = random_tokens(3), torch.tensor([1.0, 0.6, 0.0])
    together = paint(pipe, adapter, tokens, like_strength=strength, user_guidance_scale=user_guidance_scale)
    for index in range(3):
        alone = paint(
            pipe,
            adapter,
            rows(tokens, slice(index, index + 1)),
            PROMPTS[index : index + 1],
            seed=index,
            like_strength=strength[index : index + 1],
            user_guidance_scale=user_guidance_scale,
        )
        close = np.abs(together[index] - alone[0]) <= 2 / 255
        assert close.mean() >= 0.999


def test_seed_prompt_and_user_all_matter(pipe, adapter) -> None:
    mine = paint(pipe, adapter, random_tokens(1), PROMPTS[:1])
    assert not np.array_equal(mine, paint(pipe, adapter, random_tokens(1), PROMPTS[:1], seed=1))
    assert not np.array_equal(mine, paint(pipe, adapter, random_tokens(1), PROMPTS[1:2]))
    assert not np.array_equal(mine, paint(pipe, adapter, random_tokens(1, seed=1), PROMPTS[:1]))
    assert np.array_equal(mine, paint(pipe, adapter, random_tokens(1), PROMPTS[:1]))


def test_unconditional_users_are_heard(pipe, adapter) -> None:
    tokens, disliked = random_tokens(1), random_tokens(1, seed=8)
    assert not np.array_equal(
        paint(pipe, adapter, tokens, PROMPTS[:1]),
        paint(pipe, adapter, tokens, PROMPTS[:1], unconditional=disliked),
    )


def counted_batches(pipe, run) -> list[int]:
    batches = []
    forward = pipe.unet.forward
    pipe.unet.forward = lambda *args, **kwargs: (batches.append(len(args[0])), forward(*args, **kwargs))[1]
    try:
        run()
    finally:
        del pipe.unet.forward
    return batches


def test_network_calls_equal_the_plain_models(pipe, adapter) -> None:
    tokens = random_tokens(3)
    plain = counted_batches(pipe, lambda: stock(pipe))
    assert plain == [6, 6, 6]
    assert counted_batches(pipe, lambda: paint(pipe, adapter, tokens)) == plain
    separate = counted_batches(pipe, lambda: paint(pipe, adapter, tokens, user_guidance_scale=2.0))
    assert separate == [9, 9, 9]
    without_text_guidance = {"guidance_scale": 1.0, "user_guidance_scale": 2.0}
    assert counted_batches(pipe, lambda: paint(pipe, adapter, tokens, **without_text_guidance)) == [6, 6, 6]


def test_callbacks_and_pipeline_arguments_pass_through(pipe, adapter) -> None:
    steps = []

    def note(_, step, timestep, tensors):
        steps.append((step, int(timestep), tensors["latents"].shape))
        return {"latents": tensors["latents"] * 0}

    latents = paint(
        pipe,
        adapter,
        random_tokens(1),
        PROMPTS[:1],
        callback_on_step_end=note,
        output_type="latent",
        height=32,
        width=16,
        guidance_rescale=0.5,
    )
    assert [step for step, _, _ in steps] == [0, 1, 2]
    assert latents.shape == (1, 4, 16, 8)
    assert latents.abs().max() == 0


def test_model_is_left_as_it_was_even_after_an_error(pipe, adapter) -> None:
    before = dict(pipe.unet.attn_processors)

    def stop(*_):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        paint(pipe, adapter, random_tokens(3), user_guidance_scale=2.0, callback_on_step_end=stop)
    assert all(pipe.unet.attn_processors[name] is before[name] for name in before)
    assert not pipe.unet._forward_pre_hooks
    assert not pipe.unet._forward_hooks
    assert not adapter.is_injected


def test_sdxl_takes_users_the_same_way() -> None:
    pipe = tiny_sdxl_pipeline()
    adapter = trained_adapter(pipe.unet)
    tokens = random_tokens(2, d_cross=adapter.d_cross)
    arguments = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "np"}
    arguments["height"] = arguments["width"] = 16
    prompts = PROMPTS[:2]
    plain = pipe(prompts, generator=generators(2), **arguments).images
    half = sample(
        pipe,
        adapter,
        prompts,
        tokens,
        generators=generators(2),
        like_strength=torch.tensor([0.0, 1.0]),
        dislike_strength=torch.tensor([0.0, 1.0]),
        **arguments,
    )
    three = sample(pipe, adapter, prompts, tokens, generators=generators(2), user_guidance_scale=3.0, **arguments)
    two = sample(pipe, adapter, prompts, tokens, generators=generators(2), **arguments)
    assert np.array_equal(half[0], plain[0])
    assert not np.array_equal(half[1], plain[1])
    np.testing.assert_allclose(three, two, atol=1e-3)


def test_mistakes_are_told(pipe, adapter) -> None:
    with pytest.raises(PrefGenError, match="list of prompts"):
        sample(pipe, adapter, "a fox", None, generators=generators(1))
    with pytest.raises(PrefGenError, match="expected 3 rows of user tokens, one for each prompt, got 2"):
        paint(pipe, adapter, random_tokens(2))
    with pytest.raises(PrefGenError, match="expected 1 generators"):
        sample(pipe, adapter, ["a fox"], None, generators=generators(2))
    with pytest.raises(PrefGenError, match="expected 3 negative prompts"):
        paint(pipe, adapter, None, negative_prompt=["a"])
    with pytest.raises(PrefGenError, match="each of 3 pictures"):
        paint(pipe, adapter, random_tokens(3), like_strength=torch.ones(2))
    with pytest.raises(PrefGenError, match="num_images_per_prompt"):
        paint(pipe, adapter, None, num_images_per_prompt=2)
    with pytest.raises(PrefGenError, match="unconditional"):
        paint(pipe, adapter, random_tokens(3), unconditional=random_tokens(1))


def test_latents_for_are_what_the_pipeline_draws(pipe) -> None:
    noise = latents_for([5, 6, 7], (4, 8, 8))
    drawn = pipe.prepare_latents(3, 4, 16, 16, torch.float32, torch.device("cpu"), generators(3, 5))
    assert torch.equal(noise, drawn)
    assert torch.equal(latents_for([6], (4, 8, 8))[0], noise[1])
    assert latents_for([5], (4, 8, 8), dtype=torch.float16).dtype == torch.float16


@torch.no_grad()
def test_dislikes_speak_in_the_unconditional_branch_and_need_guidance() -> None:
    pipe, tokens = tiny_pipeline(), random_tokens(2)
    adapter = trained_adapter(pipe.unet)
    arguments = {"num_inference_steps": 2, "output_type": "latent"}

    def paint(given: UserTokens, **more: object) -> torch.Tensor:
        return sample(pipe, adapter, PROMPTS[:2], given, generators=generators(2), **arguments, **more)

    likes, dislikes = UserTokens(like=tokens.like), UserTokens(dislike=tokens.dislike)
    assert torch.equal(paint(tokens, guidance_scale=3.0), paint(likes, unconditional=dislikes, guidance_scale=3.0))
    assert torch.equal(paint(tokens, guidance_scale=3.0, dislike_strength=0.0), paint(likes, guidance_scale=3.0))
    assert not torch.equal(paint(tokens, guidance_scale=3.0), paint(likes, guidance_scale=3.0))
    assert torch.equal(paint(tokens, guidance_scale=1.0), paint(likes, guidance_scale=1.0))
