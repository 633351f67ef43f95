"""Published models without weights, from their configurations: on PyTorch's meta device to be counted, on another one
with new random weights to be timed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn

from prefgen.recipes.full_presets import published

META = torch.device("meta")


def part_on(part: dict[str, Any], device: torch.device) -> Any:
    """A part of a generator, `{"class": …, "config": …}` of diffusers or transformers, frozen, with new weights."""
    kind = getattr(import_module("diffusers"), part["class"], None)
    with device:
        if kind is not None:
            return kind.from_config(part["config"]).to(device).eval().requires_grad_(False)
        kind = getattr(import_module("transformers"), part["class"])
        return kind(kind.config_class(**part["config"])).eval().requires_grad_(False)


def meta_part(part: dict[str, Any]) -> Any:
    """`part_on` the meta device, in float32."""
    return part_on(part, META)


def meta_network(backbone: str) -> Any:
    """The denoising network of a published generator."""
    return meta_part(published(backbone)["network"])


def meta_mllm(name: str) -> Any:
    """A published language model that sees, on the meta device."""
    return mllm_on(published(name), META)


def mllm_on(record: Mapping[str, Any], device: torch.device) -> Any:
    """A language model that sees, from its record, frozen, with new weights."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.for_model(record["model_type"], **record["config"])
    with device:
        return AutoModelForImageTextToText.from_config(config).eval().requires_grad_(False)


def n_parameters(module: nn.Module, *, trainable: bool | None = None) -> int:
    """How many parameters a module has, shared ones once; of those that are trained or frozen alone if asked."""
    return sum(p.numel() for p in module.parameters() if trainable is None or p.requires_grad == trainable)


def n_linear_weights(module: nn.Module) -> int:
    """How many of them are weights of linear layers that are frozen."""
    found = {id(m.weight): m.weight for m in module.modules() if type(m) is nn.Linear and not m.weight.requires_grad}
    return sum(weight.numel() for weight in found.values())
