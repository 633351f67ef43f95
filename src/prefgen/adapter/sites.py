"""Where a network listens: the attention layers of each family beside whose text keys and values a person's stand.

UNets (Stable Diffusion 1.5, XL) have cross-attention to text. Diffusion transformers (Stable Diffusion 3 and 3.5, FLUX)
attend jointly to picture and text; there the picture's queries meet a person's keys and values in a second branch of
every double block, as in the IP-Adapters of diffusers for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from diffusers.models.attention_processor import Attention, AttnProcessor2_0, JointAttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from prefgen.core import ModelError

if TYPE_CHECKING:
    from jaxtyping import Float

Form = Literal["cross", "joint", "joint beside"]
"""How a layer adds what a person's branch says: `cross`, inside a cross-attention; `joint`, before a joint attention's
output layer; `joint beside`, after the block, as FLUX's stock processor does. There a person's keys meet the normed
queries as they are, so that stock diffusers computes the same from the same weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """One attention layer. `text_keys()` and `text_values()` give what takes text to keys and values, [width, d_cross]:
    where a person's own begin."""

    name: str
    attention: Any
    form: Form
    stock: type
    width: int
    d_cross: int
    text_keys: Callable[[], Float[Tensor, "width d_cross"]]
    text_values: Callable[[], Float[Tensor, "width d_cross"]]

    @property
    def norms_keys(self) -> bool:
        """Whether the attention's own norm of keys, where it has one, is a person's too."""
        return self.form != "joint beside"


def sites_of(network: nn.Module) -> list[Site]:
    """The layers of a network in the order in which stock adapter files number them.

    Raises:
        ModelError: a network of a family that is not known, or one without such layers.
    """
    kind = type(network).__name__
    if isinstance(network, UNet2DConditionModel):
        return [cross_site(name, attention) for name, attention in cross_attentions(network).items()]
    if kind == "SD3Transformer2DModel":
        return _joint_sites(network, "joint", JointAttnProcessor2_0)
    if kind == "FluxTransformer2DModel":
        from diffusers.models.transformers.transformer_flux import FluxAttnProcessor

        return _joint_sites(network, "joint beside", FluxAttnProcessor)
    raise ModelError(
        f"expected a network of Stable Diffusion 1.5, XL, 3 or FLUX, got {kind}",
        hint="sites_of in prefgen.adapter.sites is where a family is added",
    )


def cross_attentions(unet: UNet2DConditionModel) -> dict[str, Attention]:
    """The text cross-attention layers by name, in the order in which stock IP-Adapter files number them (1, 3, 5 …)."""
    names = [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]
    found = {name: unet.get_submodule(name) for name in names if "motion_modules" not in name}
    if not found:
        raise ModelError("expected a UNet with cross-attention layers, got one without any")
    return {name: module for name, module in found.items() if isinstance(module, Attention)}


def linear(layer: object) -> nn.Linear:
    """An attention's projection, typed: diffusers declares some of them optional."""
    return cast(nn.Linear, layer)


def matrix_of(layer: nn.Linear) -> Float[Tensor, "width d_in"]:
    """A linear layer's weights, detached; of a layer in four bits (bitsandbytes) those that it multiplies by."""
    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        return layer.weight.detach()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, state)


def cross_site(name: str, attention: Attention) -> Site:
    """The site of one cross-attention layer."""
    keys, values = linear(attention.to_k), linear(attention.to_v)
    return Site(
        name=name,
        attention=attention,
        form="cross",
        stock=AttnProcessor2_0,
        width=keys.out_features,
        d_cross=keys.in_features,
        text_keys=lambda: matrix_of(keys),
        text_values=lambda: matrix_of(values),
    )


def _joint_sites(network: Any, form: Form, stock: type) -> list[Site]:
    """Double blocks of a transformer. Text enters a block through `context_embedder`; both maps together take a token
    of the text encoder's width to a key."""
    into = linear(network.context_embedder)
    found = []
    for index, block in enumerate(network.transformer_blocks):
        attention = block.attn
        if getattr(attention, "fused_projections", False):
            raise ModelError("expected projections one by one, got fused ones", hint="unfuse_qkv_projections() first")
        keys, values = linear(attention.add_k_proj), linear(attention.add_v_proj)
        text_keys = _composed(keys, into)
        found.append(
            Site(
                name=f"transformer_blocks.{index}.attn",
                attention=attention,
                form=form,
                stock=stock,
                width=keys.out_features,
                d_cross=into.in_features,
                text_keys=_at_length(text_keys, attention) if form == "joint beside" else text_keys,
                text_values=_composed(values, into),
            )
        )
    if not found:
        raise ModelError(f"expected a {type(network).__name__} with double blocks, got one without any")
    return found


def _composed(last: nn.Linear, first: nn.Linear) -> Callable[[], Tensor]:
    return lambda: matrix_of(last) @ matrix_of(first)


def _at_length(weight: Callable[[], Tensor], attention: Any) -> Callable[[], Tensor]:
    """Keys as long, on average over tokens of unit variance, as the attention's norm would make them: where none is
    normed they begin so, or the first softmax could be all peak."""

    def scaled() -> Tensor:
        heads = weight().unflatten(0, (attention.heads, -1))
        unit = heads / heads.square().sum(-1).mean(1).sqrt().clamp_min(1e-12)[:, None, None]
        gain = getattr(attention.norm_k, "weight", None)
        return (unit if gain is None else unit * gain.detach()[:, None]).flatten(0, 1)

    return scaled


def network_of(pipe: Any) -> nn.Module:
    """The denoising network of a pipeline: its `unet` or its `transformer`. Raises `ModelError` for one without."""
    found = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    if not isinstance(found, nn.Module):
        raise ModelError(f"expected a pipeline with a unet or a transformer, got {type(pipe).__name__}")
    return found
