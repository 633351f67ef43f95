"""What a network of each family is told beside the latents, and one way to ask all of them for their prediction.

The same few lines serve training on what was computed beforehand and on what is computed on the spot: prompts and
pictures are encoded by the pipeline's own parts, the way the stock pipeline does it when it paints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from prefgen.adapter import network_of
from prefgen.core import InputError, ModelError
from prefgen.diffusion.backbone import N_TRAIN_TIMESTEPS

if TYPE_CHECKING:
    from jaxtyping import Float

    Predict = Callable[
        [Float[Tensor, "batch channels height width"], Float[Tensor, " batch"]],
        Float[Tensor, "batch channels height width"],
    ]

FLUX_GUIDANCE = 3.5
"""The distilled guidance that FLUX.1-dev is told, when it learns as when it paints."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditions:
    """Text as the network takes it, one row a picture: tokens; for all but Stable Diffusion 1.5 a pooled embedding; for
    Stable Diffusion XL sizes in pixels (original height and width, top and left of the crop, target height, width).
    """

    text: Float[Tensor, "batch n_words d_text"]
    pooled: Float[Tensor, "batch d_pooled"] | None = None
    time_ids: Float[Tensor, "batch 6"] | None = None

    def __len__(self) -> int:
        return len(self.text)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditions:
        """The same on another device or in another dtype."""
        moved = {name: value.to(device=device, dtype=dtype) for name, value in self.tensors().items()}
        return Conditions.of(moved)

    def tensors(self) -> dict[str, Tensor]:
        """What there is, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Conditions:
        """From what `tensors` gave; other names are left alone."""
        return Conditions(text=tensors["text"], pooled=tensors.get("pooled"), time_ids=tensors.get("time_ids"))


def predictor(network: nn.Module, conditions: Conditions, *, guidance: float = FLUX_GUIDANCE) -> Predict:
    """`predict(latents, timesteps)` of a network: what it says of noisy latents [batch, channels, height, width] at
    timesteps [batch] from 0 (data) to 1000 (noise), on the latents' grid in every family.

    `guidance` is told to a FLUX that was distilled to hear it and to nobody else.

    Raises:
        ModelError: a network of a family that is not known.
        InputError: conditions that lack what the network needs.
    """
    kind = type(network).__name__
    if isinstance(network, UNet2DConditionModel):
        needed = ["pooled", "time_ids"] if _takes_sizes(network) else []
        ask = partial(_ask_unet, network)
    elif kind == "SD3Transformer2DModel":
        needed, ask = ["pooled"], partial(_ask_sd3, network)
    elif kind == "FluxTransformer2DModel":
        needed, ask = ["pooled"], partial(_ask_flux, network, guidance)
    else:
        raise ModelError(f"expected a network of Stable Diffusion 1.5, XL, 3 or FLUX, got {kind}")
    if missing := [name for name in needed if getattr(conditions, name) is None]:
        raise InputError(f"expected conditions with {' and '.join(missing)}, which a {kind} of this kind needs")
    return partial(ask, conditions)


@torch.no_grad()
def encode_prompts(pipe: Any, prompts: Sequence[str], *, side_px: int, longest_text: int | None = None) -> Conditions:
    """Prompts as the pipeline's own text encoders give them, for square pictures of `side_px` pixels.

    `longest_text` bounds the T5 tokens of Stable Diffusion 3 and FLUX (the pipeline's default if None).
    """
    network, texts, device = network_of(pipe), list(prompts), pipe.text_encoder.device
    kind = type(network).__name__
    longest = {} if longest_text is None else {"max_sequence_length": longest_text}
    if kind == "FluxTransformer2DModel":
        text, pooled, _ = pipe.encode_prompt(texts, None, device=device, **longest)
        return Conditions(text=text, pooled=pooled)
    if kind == "SD3Transformer2DModel":
        text, _, pooled, _ = pipe.encode_prompt(
            texts, None, None, device=device, do_classifier_free_guidance=False, **longest
        )
        return Conditions(text=text, pooled=pooled)
    if _takes_sizes(network):
        text, _, pooled, _ = pipe.encode_prompt(texts, device=device, do_classifier_free_guidance=False)
        sizes = torch.tensor([[side_px, side_px, 0, 0, side_px, side_px]], device=device, dtype=text.dtype)
        return Conditions(text=text, pooled=pooled, time_ids=sizes.repeat(len(texts), 1))
    text, _ = pipe.encode_prompt(texts, device, 1, False)
    return Conditions(text=text)


@torch.no_grad()
def encode_pictures(
    pipe: Any, images: Sequence[Image.Image], *, side_px: int
) -> Float[Tensor, "batch channels height width"]:
    """Latents of pictures, scaled (and shifted) as the pipeline has them; resized to squares of `side_px` pixels."""
    pixels = pipe.image_processor.preprocess(list(images), height=side_px, width=side_px)
    config = pipe.vae.config
    z = pipe.vae.encode(pixels.to(pipe.vae.device, pipe.vae.dtype)).latent_dist.mean
    return (z - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor


def _takes_sizes(unet: Any) -> bool:
    return unet.config.addition_embed_type == "text_time"


def _ask_unet(network: Any, given: Conditions, x: Tensor, timesteps: Tensor) -> Tensor:
    added = None if given.pooled is None else {"text_embeds": given.pooled, "time_ids": given.time_ids}
    return network(x, timesteps, given.text, added_cond_kwargs=added).sample


def _ask_sd3(network: Any, given: Conditions, x: Tensor, timesteps: Tensor) -> Tensor:
    return network(
        hidden_states=x, encoder_hidden_states=given.text, pooled_projections=given.pooled, timestep=timesteps
    ).sample


def _ask_flux(network: Any, guidance: float, given: Conditions, x: Tensor, timesteps: Tensor) -> Tensor:
    told = torch.full((len(x),), guidance, device=x.device) if network.config.guidance_embeds else None
    height, width = x.shape[-2:]
    out = network(
        hidden_states=packed(x),
        timestep=timesteps / N_TRAIN_TIMESTEPS,
        guidance=told,
        pooled_projections=given.pooled,
        encoder_hidden_states=given.text,
        txt_ids=torch.zeros(given.text.shape[1], 3, device=x.device, dtype=given.text.dtype),
        img_ids=_places(height // 2, width // 2).to(x.device, given.text.dtype),
        return_dict=False,
    )[0]
    return unpacked(out, height, width)


def packed(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch length packed"]:
    """Latents two by two as FLUX reads them: [batch, height/2 · width/2, channels · 4]."""
    if x.shape[-1] % 2 or x.shape[-2] % 2:
        raise InputError(f"expected latents of even height and width, got {list(x.shape[-2:])}")
    blocks = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpacked(
    x: Float[Tensor, "batch length packed"], height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """The way back from `packed`."""
    blocks = x.unflatten(1, (height // 2, width // 2)).unflatten(3, (-1, 2, 2))
    return blocks.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def _places(height: int, width: int) -> Float[Tensor, "length 3"]:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).flatten(0, 1).float()
