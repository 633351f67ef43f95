"""What may be asked of the stock pipeline: arguments it knows, outputs it can give, numbers that are numbers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from prefgen.core import ConfigError, nearest_hint

OutputType = Literal["pil", "np", "pt", "latent"]


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
