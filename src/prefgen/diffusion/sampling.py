"""Pictures for people: a stock pipeline's own sampling loop, with the users' tokens beside its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from PIL import Image
from torch import Tensor

from prefgen.adapter import UserAdapter, UserTokens, network_of
from prefgen.core import InputError
from prefgen.diffusion.branches import heard_by_turns, text_guidance, turns_of
from prefgen.diffusion.guidance import separate_user_guidance
from prefgen.diffusion.interval import StepCallback, check_interval, heard_between

DislikesIn = Literal["unconditional", "beside"]

if TYPE_CHECKING:
    from jaxtyping import Float

    Strength = float | Float[Tensor, " batch"]


@overload
def sample(
    pipe: Any,
    adapter: UserAdapter | None,
    prompts: Sequence[str],
    tokens: UserTokens | None,
    *,
    generators: Sequence[torch.Generator],
    negative_prompt: str | Sequence[str] | None = ...,
    guidance_scale: float = ...,
    num_inference_steps: int = ...,
    like_strength: Strength = ...,
    dislike_strength: Strength = ...,
    user_guidance_scale: float | None = ...,
    user_start: float = ...,
    user_end: float = ...,
    unconditional: UserTokens | None = ...,
    dislikes: DislikesIn = ...,
    callback_on_step_end: StepCallback | None = ...,
    output_type: Literal["pil"] = ...,
    **pipeline_arguments: Any,
) -> list[Image.Image]: ...


@overload
def sample(
    pipe: Any,
    adapter: UserAdapter | None,
    prompts: Sequence[str],
    tokens: UserTokens | None,
    *,
    generators: Sequence[torch.Generator],
    negative_prompt: str | Sequence[str] | None = ...,
    guidance_scale: float = ...,
    num_inference_steps: int = ...,
    like_strength: Strength = ...,
    dislike_strength: Strength = ...,
    user_guidance_scale: float | None = ...,
    user_start: float = ...,
    user_end: float = ...,
    unconditional: UserTokens | None = ...,
    dislikes: DislikesIn = ...,
    callback_on_step_end: StepCallback | None = ...,
    output_type: Literal["np", "pt", "latent"],
    **pipeline_arguments: Any,
) -> Any: ...


def sample(
    pipe: Any,
    adapter: UserAdapter | None,
    prompts: Sequence[str],
    tokens: UserTokens | None,
    *,
    generators: Sequence[torch.Generator],
    negative_prompt: str | Sequence[str] | None = None,
    guidance_scale: float = 7.5,
    num_inference_steps: int = 25,
    like_strength: Strength = 1.0,
    dislike_strength: Strength = 1.0,
    user_guidance_scale: float | None = None,
    user_start: float = 0.0,
    user_end: float = 1.0,
    unconditional: UserTokens | None = None,
    dislikes: DislikesIn = "unconditional",
    callback_on_step_end: StepCallback | None = None,
    output_type: str = "pil",
    **pipeline_arguments: Any,
) -> Any:
    """One picture for each prompt, generator and row of `tokens`; each is decided by its own three alone.

    The loop is the pipeline's own `__call__`, so whatever it takes (`height`, `guidance_rescale`, `eta`, `image` and
    `strength` of an img2img pipeline, a ControlNet's `image`, FLUX's `true_cfg_scale` …) may be given too, except
    arguments that change the number of rows. Any stock pipeline of Stable Diffusion 1.5, XL, 3, 3.5 or FLUX will do,
    and `guidance_scale` means what it means there: with FLUX the distilled guidance, a number that the network is told.

    - With `prompt_embeds` among the pipeline's arguments the prompts are counted, and not read.
    - `tokens` None, zero tokens or strength 0 give the plain pipeline's picture bit for bit.
    - Strengths are numbers or tensors `[batch]`.
    - A step costs the plain pipeline's network calls. `user_guidance_scale` guides towards the person separately (see
      `separate_user_guidance`) at three rows a picture and step instead of two: about 1.5 times the work.
      `user_guidance_scale=guidance_scale` is the default's guidance, made the longer way.
    - `user_start` and `user_end`, shares of the steps, say from when until when the person is heard; outside it is the
      plain pipeline, at its cost (`prefgen.diffusion.interval`).
    - `dislikes` says where the dislike group speaks. `"unconditional"` (ours): in the unconditional branch, from which
      guidance moves away, so that more strength means further from what is disliked; without guidance they are silent.
      With FLUX that branch is open where `true_cfg_scale` > 1 and there is a negative prompt (`""` will do).
      `"beside"`: in the conditional branch beside the likes, as the formula of arXiv 2512.06020 reads.
    - `unconditional` are users for the unconditional branch; the default is what `dislikes` says.
    - `output_type` is `"pil"` (a list), `"np"`, `"pt"` or `"latent"`.
    """
    check_interval(user_start, user_end)
    _check_counts(prompts, tokens, generators, negative_prompt, pipeline_arguments)
    if dislikes == "unconditional" and unconditional is None and tokens is not None and tokens.dislike is not None:
        likes = torch.zeros_like(tokens.dislike) if tokens.like is None else tokens.like
        tokens, unconditional = UserTokens(like=likes), UserTokens(dislike=tokens.dislike)
    if adapter is not None and adapter.is_injected:
        raise InputError(
            "expected a network that listens to nobody, got one that paints for somebody at this moment",
            hint="let one call end before the next, and do not paint from `callback_on_step_end`",
        )
    with ExitStack() as stack:
        if adapter is not None and tokens is not None and len(tokens) > 0:
            network = network_of(pipe)
            text_scale = text_guidance(network, guidance_scale, negative_prompt, pipeline_arguments)
            where = next(adapter.parameters()).device
            against = None if unconditional is None else unconditional.to(where)
            guided, separate = text_scale is not None, user_guidance_scale is not None
            turns = turns_of(network, tokens.to(where), against, guided=guided, separate=separate)
            stack.enter_context(adapter.injected(network))
            turn = stack.enter_context(heard_by_turns(adapter, network, turns, like_strength, dislike_strength))
            callback_on_step_end = heard_between(
                adapter, user_start, user_end, num_inference_steps, callback_on_step_end
            )
            if user_guidance_scale is not None:
                stack.enter_context(
                    separate_user_guidance(
                        network, len(tokens), user_guidance_scale, text_scale or 1.0, lambda: turn().is_plain(adapter)
                    )
                )
        if wanted := getattr(callback_on_step_end, "tensor_inputs", None):
            pipeline_arguments = {"callback_on_step_end_tensor_inputs": wanted} | pipeline_arguments
        output = pipe(
            None if "prompt_embeds" in pipeline_arguments else list(prompts),
            negative_prompt=_as_list(negative_prompt, len(prompts)),
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            generator=list(generators),
            callback_on_step_end=callback_on_step_end,  # pyright: ignore[reportArgumentType]
            output_type=output_type,
            **pipeline_arguments,
        )
    return output.images  # pyright: ignore[reportAttributeAccessIssue]


def latents_for(
    seeds: Sequence[int],
    shape: Sequence[int],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "batch channels height width"]:
    """Initial noise, one picture a seed, each drawn alone on the CPU, so that neither mates nor device change it.

    `shape` is one picture's `[channels, height, width]` in latent units. In float32 it is the noise that `sample` draws
    from `torch.Generator().manual_seed(seed)`.
    """
    drawn = [torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn).to(device, dtype)


def _as_list(negative_prompt: str | Sequence[str] | None, n: int) -> list[str] | None:
    if negative_prompt is None:
        return None
    return [negative_prompt] * n if isinstance(negative_prompt, str) else list(negative_prompt)


def _check_counts(
    prompts: Sequence[str],
    tokens: UserTokens | None,
    generators: Sequence[torch.Generator],
    negative_prompt: str | Sequence[str] | None,
    pipeline_arguments: dict[str, Any],
) -> None:
    if isinstance(prompts, str):
        raise InputError("expected a list of prompts, one a picture, got one string")
    n = len(prompts)
    counts = {"generators": len(generators)}
    if tokens is not None and len(tokens) > 0:
        counts["rows of user tokens"] = len(tokens)
    if negative_prompt is not None and not isinstance(negative_prompt, str):
        counts["negative prompts"] = len(negative_prompt)
    for what, count in counts.items():
        if count != n:
            raise InputError(f"expected {n} {what}, one for each prompt, got {count}")
    if taken := {"num_images_per_prompt", "prompt", "generator"} & pipeline_arguments.keys():
        raise InputError(
            f"{sorted(taken)[0]!r} cannot be given here",
            hint="repeat prompts and `tokens.repeat(n)`, and give one generator a picture",
        )
