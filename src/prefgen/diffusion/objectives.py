"""The loss of every family: what its scheduler says that the network predicts, weighted so that all times learn alike.

Stable Diffusion 1.5 and XL predict the noise (or `v`) at one of a thousand steps; there the loss is weighted by min-SNR
(arXiv 2303.09556), without which nearly clean latents, on which little depends, hold most of it. Stable Diffusion 3,
FLUX and the embedded model predict the velocity of a straight path; there times are drawn logit-normal (arXiv
2403.03206, §3.1), which is a weight already, and others may be put beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from prefgen.core import ConfigError, nearest_hint
from prefgen.diffusion.conditions import Conditions, predictor
from prefgen.diffusion.training import flow_matching_loss, noise_like, sample_times

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import nn

    from prefgen.diffusion.conditions import Predict

Objective = Literal["epsilon", "v_prediction", "flow"]
FlowWeighting = Literal["even", "sigma_sqrt", "cosmap"]
MIN_SNR = 5.0
"""γ of min-SNR, the value of its paper."""


def objective_of(scheduler: Any) -> Objective:
    """What a network is trained to predict, as its pipeline's scheduler has it.

    Raises:
        ConfigError: another one, such as `sample`.
    """
    kind = scheduler.config.get("prediction_type")
    if kind == "flow_prediction" or type(scheduler).__name__.startswith("FlowMatch"):
        return "flow"
    if kind in ("epsilon", "v_prediction"):
        return kind
    raise ConfigError(f"expected a scheduler whose network predicts noise, v or a flow, got {kind!r}")


def min_snr_weights(
    snr: Float[Tensor, " batch"], objective: Objective, gamma: float = MIN_SNR
) -> Float[Tensor, " batch"]:
    """`min(SNR, γ)/SNR` for noise, `min(SNR, γ)/(SNR + 1)` for v (arXiv 2303.09556, §3.4); SNR 0 is fine."""
    if objective == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    return (gamma / snr).clamp(max=1.0)


def flow_weights(times: Float[Tensor, " batch"], weighting: str = "even") -> Float[Tensor, " batch"]:
    """Weights of a flow loss at times t in (0, 1): `even` 1, `sigma_sqrt` 1/t², `cosmap` 2/(π·(1 - 2t + 2t²)), as
    diffusers names them (arXiv 2403.03206, §3.1)."""
    if weighting not in get_args(FlowWeighting):
        known = get_args(FlowWeighting)
        raise ConfigError(
            f"expected a flow weighting of {list(known)}, got {weighting!r}", hint=nearest_hint(weighting, known)
        )
    if weighting == "sigma_sqrt":
        return times**-2.0
    if weighting == "cosmap":
        return 2 / (math.pi * (1 - 2 * times + 2 * times**2))
    return torch.ones_like(times)


def flux_time_mean(n_places: int) -> float:
    """Mean of the logit-normal times for FLUX at a picture of `n_places` packed latents: the shift of its sampler, from
    e^0.5 at 256 places to e^1.15 at 4096, which is an addend in logits."""
    return 0.5 + (1.15 - 0.5) * (n_places - 256) / (4096 - 256)


def noise_prediction_loss(
    predict: Predict,
    latents: Float[Tensor, "batch channels height width"],
    alphas_cumprod: Float[Tensor, " n_steps"],
    objective: Objective,
    generator: torch.Generator | None = None,
    *,
    min_snr: float | None = MIN_SNR,
    timesteps: Int[Tensor, " batch"] | None = None,
    noise: Float[Tensor, "batch channels height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """Weighted mean squared error of noise or v at random steps of `alphas_cumprod` (ᾱ), a value for each sample.

    `x_t = √ᾱ·latents + √(1-ᾱ)·noise`, `v = √ᾱ·noise - √(1-ᾱ)·latents`, `SNR = ᾱ/(1-ᾱ)`. `min_snr` None weighs evenly.
    Steps are drawn first, then noise.
    """
    device = None if generator is None else generator.device
    if timesteps is None:
        timesteps = torch.randint(0, len(alphas_cumprod), (len(latents),), generator=generator, device=device)
    if noise is None:
        noise = noise_like(latents, generator)
    timesteps = timesteps.to(latents.device)
    kept = alphas_cumprod.to(latents.device).float()[timesteps]
    signal, spread = (x.view(-1, 1, 1, 1) for x in (kept.sqrt(), (1 - kept).sqrt()))
    clean, noise32 = latents.float(), noise.float()
    target = noise32 if objective == "epsilon" else signal * noise32 - spread * clean
    said = predict((signal * clean + spread * noise32).to(latents.dtype), timesteps).float()
    loss = (said - target).square().flatten(1).mean(dim=1)
    return loss if min_snr is None else loss * min_snr_weights(kept / (1 - kept), objective, min_snr)


def _shared(network: nn.Module, conditions: Conditions, share: Callable[..., Tensor]) -> Predict:
    """`predictor` over rows that are divided."""
    told = conditions.tensors()

    def rows(x: Tensor, timesteps: Tensor, *values: Tensor) -> Tensor:
        return predictor(network, Conditions.of(dict(zip(told, values))))(x, timesteps)

    return lambda x, timesteps: share(rows, x, timesteps, *told.values())


def backbone_loss(
    network: nn.Module,
    scheduler: Any,
    latents: Float[Tensor, "batch channels height width"],
    conditions: Conditions,
    generator: torch.Generator | None = None,
    *,
    min_snr: float | None = MIN_SNR,
    flow_weighting: str = "even",
    time_mean: float = 0.0,
    time_std: float = 1.0,
    share: Callable[..., Tensor] | None = None,
) -> Float[Tensor, " batch"]:
    """The loss of any family's network, a value for each sample; whoever is heard is heard.

    `share(function, *batched)` gives what `function(*batched)` gives, where several processes divide a batch among
    them: times and noise are drawn for all of it.

    `scheduler` is the pipeline's own and says what is predicted; its noise schedule serves noise and v. `latents` and
    `conditions` come from `encode_pictures` and `encode_prompts`, or from a file that keeps them.
    """
    predict, objective = predictor(network, conditions), objective_of(scheduler)
    if share is not None:
        predict = _shared(network, conditions, share)
    if objective != "flow":
        return noise_prediction_loss(predict, latents, scheduler.alphas_cumprod, objective, generator, min_snr=min_snr)
    times = sample_times(len(latents), generator, mean=time_mean, std=time_std)
    loss = flow_matching_loss(lambda x, t, _: predict(x, t), latents, conditions.text, generator, times=times)
    return loss.per_sample * flow_weights(loss.times, flow_weighting)
