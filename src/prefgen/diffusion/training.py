"""Flow matching (rectified flow): the loss that trains a generator, and an adapter on a frozen one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prefgen.core import InputError
from prefgen.diffusion.backbone import N_TRAIN_TIMESTEPS

if TYPE_CHECKING:
    from jaxtyping import Float

    VelocityModel = Callable[
        [Float[Tensor, "batch channels height width"], Float[Tensor, " batch"], Float[Tensor, "batch n_words d_cross"]],
        Float[Tensor, "batch channels height width"],
    ]
    Teacher = Callable[
        [Float[Tensor, "batch channels height width"], Float[Tensor, " batch"]],
        Float[Tensor, "batch channels height width"],
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowLoss:
    """The loss of each sample (mean over its elements, float32), the time t in (0, 1) it was taken at, and the clean
    latents as the model estimates them, `x_t - t·velocity`, float32."""

    per_sample: Float[Tensor, " batch"]
    times: Float[Tensor, " batch"]
    estimate: Float[Tensor, "batch channels height width"]

    @property
    def mean(self) -> Float[Tensor, ""]:
        """The mean over the batch: what to call `backward` on."""
        return self.per_sample.mean()


def sample_times(
    n: int, generator: torch.Generator | None = None, *, mean: float = 0.0, std: float = 1.0
) -> Float[Tensor, " n"]:
    """Times t in (0, 1), logit-normal: `t = 1/(1+e^-u)`, `u ~ N(mean, std)` (arXiv 2403.03206, eq. 19).

    0 is data and 1 is noise; a larger `mean` trains nearer to noise. To train where sampling with `flow_shift` s steps,
    add `log(s)` to `mean`: the shift is exactly that in logits. Drawn on the generator's device (the CPU without one).
    """
    device = None if generator is None else generator.device
    return torch.sigmoid(mean + std * torch.randn(n, generator=generator, device=device))


def noise_like(
    latents: Float[Tensor, "batch channels height width"], generator: torch.Generator | None = None
) -> Float[Tensor, "batch channels height width"]:
    """Standard normal noise of the latents' shape, device and dtype, drawn in float32 on the generator's device."""
    device = None if generator is None else generator.device
    return torch.randn(latents.shape, generator=generator, device=device).to(latents)


def noisy_latents(
    latents: Float[Tensor, "batch channels height width"],
    noise: Float[Tensor, "batch channels height width"],
    times: Float[Tensor, " batch"],
) -> Float[Tensor, "batch channels height width"]:
    """The point of the straight path at time t: `x_t = (1-t)·latents + t·noise`."""
    t = times.view(-1, *[1] * (latents.ndim - 1)).to(latents)
    return (1 - t) * latents + t * noise


def velocity_target(
    latents: Float[Tensor, "batch channels height width"], noise: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch channels height width"]:
    """What the model predicts, `dx_t/dt = noise - latents`: diffusers' `flow_prediction`."""
    return noise - latents


def flow_matching_loss(
    unet_call: VelocityModel,
    latents: Float[Tensor, "batch channels height width"],
    text: Float[Tensor, "batch n_words d_cross"],
    generator: torch.Generator | None = None,
    *,
    times: Float[Tensor, " batch"] | None = None,
    noise: Float[Tensor, "batch channels height width"] | None = None,
    time_mean: float = 0.0,
    time_std: float = 1.0,
    teacher: Teacher | None = None,
    teacher_share: float | Float[Tensor, " batch"] = 0.0,
) -> FlowLoss:
    """Mean squared error of the predicted velocity at random times, a value for each sample.

    `unet_call(x_t, 1000·t, text)` returns the velocity: for a stock UNet `lambda x, t, c: unet(x, t, c).sample`.
    `latents` are scaled as the pipeline has them (autoencoder output times `scaling_factor`). Times are drawn first,
    then noise, both from `generator`; give them to evaluate at chosen ones.

    `teacher(x_t, 1000·t)` is the velocity of a model that is told more: the target moves to it by `teacher_share`. As
    the teacher's is the mean velocity given what it is told, the minimum stays where it was as far as the teacher is
    right, and the target's noise, most of this loss, shrinks by that share (*ours*).
    """
    if len(text) != len(latents):
        raise InputError(f"expected {len(latents)} rows of text, one for each latent, got {len(text)}")
    if times is None:
        times = sample_times(len(latents), generator, mean=time_mean, std=time_std)
    if noise is None:
        noise = noise_like(latents, generator)
    times = times.to(latents.device)
    x_t, target = noisy_latents(latents, noise, times), velocity_target(latents, noise).float()
    share = torch.as_tensor(teacher_share, dtype=target.dtype, device=target.device)
    if teacher is not None and bool(share.any()):
        with torch.no_grad():
            told = teacher(x_t, N_TRAIN_TIMESTEPS * times).float()
            target = torch.lerp(target, told, share.reshape(-1, *[1] * (target.ndim - 1)))
    velocity = unet_call(x_t, N_TRAIN_TIMESTEPS * times, text).float()
    t = times.view(-1, *[1] * (latents.ndim - 1)).float()
    return FlowLoss(
        per_sample=(velocity - target).square().flatten(1).mean(dim=1),
        times=times,
        estimate=x_t.float() - t * velocity,
    )
