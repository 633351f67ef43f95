"""From which step to which a person is heard: first what is asked for takes its place, then whose it is (ours).

The first steps of a sampler decide what stands where, the last ones how it is finished. A person's taste that is heard
from the first step on draws a subject out of shape that the prompt alone would have placed; heard a little later, and
louder, it is followed as far and the subject stands (dev/LOG.md). For guidance the like was found by Kynkäänniemi and
others (arXiv 2404.07724); diffusers' ControlNet has it as `control_guidance_start` and `control_guidance_end`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefgen.adapter import UserAdapter
from prefgen.core import InputError

StepCallback = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def check_interval(start: float, end: float) -> None:
    """Raises `InputError` unless 0 <= start < end <= 1."""
    if not 0 <= start < end <= 1:
        raise InputError(
            f"expected 0 <= user_start < user_end <= 1, shares of the steps, got {start} and {end}",
            hint="user_start=0.0, user_end=1.0 hears the person in every step",
        )


def is_heard(step: int, n_steps: int, start: float, end: float) -> bool:
    """Whether the person is heard in one of `n_steps` steps, counted from 0; in one of them at least."""
    first = min(round(start * n_steps), n_steps - 1)
    return first <= step < max(round(end * n_steps), first + 1)


def heard_between(
    adapter: UserAdapter, start: float, end: float, n_steps: int, then: StepCallback | None
) -> StepCallback | None:
    """A pipeline's `callback_on_step_end` that silences `adapter` outside the interval, then calls `then`; the first
    step is prepared here. `n_steps` are those asked for; what the pipeline really takes is learned from it."""
    if (start, end) == (0.0, 1.0):
        return then
    adapter.silent = not is_heard(0, n_steps, start, end)

    def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        adapter.silent = not is_heard(step + 1, pipe.num_timesteps, start, end)
        return tensors if then is None else then(pipe, step, timestep, tensors)

    if hasattr(then, "tensor_inputs"):
        after_step.tensor_inputs = then.tensor_inputs  # pyright: ignore[reportFunctionMemberAccess, reportOptionalMemberAccess]
    return after_step
