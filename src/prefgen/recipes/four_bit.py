"""A frozen network in four bits: NF4 with double quantisation, as QLoRA keeps it (arXiv 2305.14314, section 3).

Weights are dequantised layer by layer where they are multiplied, there and on the way back, in the dtype that they had;
so gradients pass through them to an adapter, and a layer takes little over a quarter of its bytes in bfloat16.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from prefgen.core import ModelError
from prefgen.mllm.loading import keep_way_back

BYTES_A_WEIGHT = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""Four bits, eight for the scale of every 64 weights, and a float32 for the scale of every 256 scales."""


def four_bit_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of a UNet or diffusion transformer that four bits hold, by name: those inside its blocks.

    What stands outside them stays as it is, because all that a network hears or says passes through it once, and it is
    small: the ways in of latents, text, times and pooled text (`x_embedder`, `context_embedder`, `time_text_embed`,
    `time_embedding`, `add_embedding`) and the way out (`norm_out`, `proj_out`). So do convolutions and norms, which
    bitsandbytes knows no four bits for. A block's modulation of its norms goes into four bits: it is a quarter of FLUX.
    """
    return {
        name: module
        for name, module in network.named_modules()
        if type(module) is nn.Linear and name.split(".")[0].endswith(("block", "blocks"))
    }


def check_bitsandbytes() -> None:
    """Raises `ModelError` where bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            "expected bitsandbytes for four-bit weights, got none installed", hint="pip install 'prefgen[quant]'"
        )


@torch.no_grad()
def quantise(network: nn.Module, device: torch.device | str) -> None:
    """Moves a network to `device` with its `four_bit_layers` in four bits, in place.

    One layer at a time, so that the device never holds the network in full precision. An adapter that starts from the
    text's keys and values is best made before: afterwards it would start from their rounded values.

    Raises:
        ModelError: bitsandbytes is not installed, or too old to quantise on this kind of device.
    """
    check_bitsandbytes()
    for name in list(four_bit_layers(network)):
        layer: Any = network.get_submodule(name)
        network.set_submodule(name, _quantised(layer, torch.device(device)))
    network.to(device)


def _quantised(layer: nn.Linear, device: torch.device) -> nn.Module:
    import bitsandbytes

    bnb: Any = bitsandbytes
    made = bnb.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=layer.weight.dtype,
        quant_type="nf4",
        device="meta",
    )
    weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=made)
    made.weight = weight.to(device)
    if not made.weight.bnb_quantized:
        raise ModelError(
            f"expected a bitsandbytes that quantises on {device.type}, got {bnb.__version__}",
            hint="pip install --upgrade bitsandbytes",
        )
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.data.to(device), requires_grad=layer.bias.requires_grad)
    keep_way_back(made)
    return made.train(layer.training)
