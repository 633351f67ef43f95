"""From which step to which a person is heard: the plain pipeline outside, the person inside, everything as before."""

from __future__ import annotations

import pytest
import torch
from diffusers.callbacks import PipelineCallback

from prefgen.adapter import UserTokens
from prefgen.core import InputError
from prefgen.diffusion import is_heard, sample
from tiny_diffusion import generators, random_tokens, tiny_pipeline, trained_adapter

N_STEPS = 4


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def adapter(pipe):
    return trained_adapter(pipe.unet)


def trace(pipe, adapter, tokens: UserTokens | None, **arguments) -> list[torch.Tensor]:
    """The latents after every step."""
    kept: list[torch.Tensor] = []

    def keep(_, step: int, timestep, tensors: dict) -> dict:
        kept.append(tensors["latents"].clone())
        return tensors

    settings = {"guidance_scale": 3.0, "num_inference_steps": N_STEPS, "output_type": "latent"} | arguments
    sample(pipe, adapter, ["a fox"] * 2, tokens, generators=generators(2), callback_on_step_end=keep, **settings)
    return kept


@pytest.mark.parametrize(
    ("start", "end", "heard"),
    [
        (0.0, 1.0, [0, 1, 2, 3]),
        (0.5, 1.0, [2, 3]),
        (0.0, 0.5, [0, 1]),
        (0.25, 0.75, [1, 2]),
        (0.9, 1.0, [3]),
        (0.5, 0.51, [2]),
    ],
)
def test_which_steps_are_heard(start: float, end: float, heard: list[int]) -> None:
    assert [step for step in range(N_STEPS) if is_heard(step, N_STEPS, start, end)] == heard


def test_before_the_start_it_is_the_plain_pipeline_bit_for_bit(pipe, adapter) -> None:
    tokens = random_tokens(2)
    plain, late = trace(pipe, None, None), trace(pipe, adapter, tokens, user_start=0.5)
    assert [torch.equal(a, b) for a, b in zip(plain, late)] == [True, True, False, False]


def test_until_the_end_it_is_the_person_and_then_no_longer(pipe, adapter) -> None:
    tokens = random_tokens(2)
    whole, early = trace(pipe, adapter, tokens), trace(pipe, adapter, tokens, user_end=0.5)
    assert [torch.equal(a, b) for a, b in zip(whole, early)] == [True, True, False, False]


def test_the_whole_interval_is_what_it_always_was(pipe, adapter) -> None:
    tokens = random_tokens(2)
    told = trace(pipe, adapter, tokens, user_start=0.0, user_end=1.0)
    assert all(torch.equal(a, b) for a, b in zip(trace(pipe, adapter, tokens), told, strict=True))


def test_dislikes_and_separate_guidance_keep_to_the_interval(pipe, adapter) -> None:
    dislikes = UserTokens(dislike=random_tokens(2).dislike)
    plain, late = trace(pipe, None, None), trace(pipe, adapter, dislikes, user_start=0.5)
    assert [torch.equal(a, b) for a, b in zip(plain, late)] == [True, True, False, False]
    separate = trace(pipe, adapter, random_tokens(2), user_start=0.5, user_guidance_scale=5.0)
    torch.testing.assert_close(separate[1], plain[1])
    assert not torch.allclose(separate[3], plain[3])


def test_silent_steps_cost_two_rows_under_separate_guidance(pipe, adapter) -> None:
    rows: list[int] = []
    handle = pipe.unet.conv_in.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    try:
        trace(pipe, adapter, random_tokens(2), user_start=0.5, user_guidance_scale=5.0)
    finally:
        handle.remove()
    assert rows == [4, 4, 6, 6]


def test_diffusers_own_callbacks_get_the_tensors_they_ask_for(pipe, adapter) -> None:
    class Looks(PipelineCallback):
        seen = 0

        @property
        def tensor_inputs(self) -> list[str]:
            return ["latents", "prompt_embeds"]

        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs: dict) -> dict:
            Looks.seen += len(callback_kwargs["prompt_embeds"]) > 0
            return callback_kwargs

    settings = {"generators": generators(1), "num_inference_steps": 2, "callback_on_step_end": Looks()}
    for start in (0.0, 0.5):
        sample(pipe, adapter, ["a fox"], random_tokens(1), user_start=start, **settings)
    assert Looks.seen == 4


def test_an_error_in_the_middle_leaves_the_adapter_as_it_was(pipe, adapter) -> None:
    def fail(*_) -> dict:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        sample(
            pipe,
            adapter,
            ["a fox"],
            random_tokens(1),
            generators=generators(1),
            num_inference_steps=2,
            user_start=0.5,
            callback_on_step_end=fail,
        )
    assert not adapter.silent
    assert not adapter.is_injected


@pytest.mark.parametrize("interval", [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (0.8, 0.2), (float("nan"), 1.0)])
def test_an_interval_that_is_none_is_refused(pipe, adapter, interval: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="user_start") as raised:
        trace(pipe, adapter, random_tokens(2), user_start=interval[0], user_end=interval[1])
    assert raised.value.hint
