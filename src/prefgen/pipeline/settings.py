"""What may be asked of the stock pipeline: arguments it knows, outputs it can give, numbers that are numbers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args

from prefgen.core import ConfigError, nearest_hint
from prefgen.diffusion import check_interval
from prefgen.pipeline.card import Defaults

OutputType = Literal["pil", "np", "pt", "latent"]
T = TypeVar("T")


def check_pipeline_settings(
    pipe: Any, output_type: str, user_guidance_scale: float | None, arguments: Mapping[str, Any]
) -> None:
    """Raises `ConfigError` for an argument that the pipeline does not know (its own `**kwargs` would swallow it), an
    output it cannot give here, and a guidance that is no number."""
    known = [
        name
        for name, parameter in inspect.signature(pipe.__call__).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for name in arguments:
        if name == "return_dict":
            raise ConfigError("expected no return_dict, since the output is always an object", hint="use .images")
        if name not in known:
            raise ConfigError(
                f"expected an argument of {type(pipe).__name__}, got {name!r}", hint=nearest_hint(name, known)
            )
    if output_type not in get_args(OutputType):
        raise ConfigError(f"expected an output_type of {list(get_args(OutputType))}, got {output_type!r}")
    if user_guidance_scale is not None and not math.isfinite(user_guidance_scale):
        raise ConfigError(f"expected a number as user_guidance_scale, got {user_guidance_scale}")


def open_branch(
    pipe: Any, default: Defaults, negative_prompt: T | None, arguments: Mapping[str, Any]
) -> tuple[T | str | None, dict[str, Any]]:
    """Negative prompt and pipeline arguments of a call. FLUX alone is changed: its `true_cfg_scale` is the default's
    where none is given, and above 1 an empty negative prompt stands where there is none: without one the pipeline would
    leave out the branch in which dislikes speak."""
    told = dict(arguments)
    if "true_cfg_scale" not in inspect.signature(pipe.__call__).parameters:
        return negative_prompt, told
    scale = told.setdefault("true_cfg_scale", default.true_cfg_scale)
    if not _is_number(scale):
        raise ConfigError(f"expected a number as true_cfg_scale, got {scale!r}")
    given = negative_prompt is not None or "negative_prompt_embeds" in told
    return negative_prompt if given or scale <= 1 else "", told


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def sampling_settings(default: Defaults, **given: float | None) -> dict[str, Any]:
    """Every setting by name, as given or, where that is None, as in `default`.

    Raises `ConfigError` for what is no number, a number of steps that is none and a variety beyond 0 and 1, and
    `InputError` for an interval that holds no step.
    """
    settings = {name: getattr(default, name) if value is None else value for name, value in given.items()}
    for name, value in settings.items():
        if not _is_number(value):
            raise ConfigError(f"expected a number as {name}, got {value!r}")
    steps, variety = settings["num_inference_steps"], settings["variety"]
    if steps < 1 or steps != int(steps):
        raise ConfigError(f"expected a whole number of steps, at least one, got {steps}")
    settings["num_inference_steps"] = int(steps)
    if not 0 <= variety <= 1:
        raise ConfigError(f"expected a variety from 0 to 1, got {variety}")
    check_interval(settings["user_start"], settings["user_end"])
    return settings
