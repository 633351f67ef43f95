"""Adapters on disk: one safetensors file a group, in the key layout of stock diffusers IP-Adapters, and a config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prefgen.adapter.tokens import GROUPS, Group
from prefgen.adapter.user_adapter import UserAdapter, check_kind
from prefgen.core import ModelError

CONFIG_NAME = "user_adapter.json"
FORMAT_VERSION = 1
STATE_PREFIX = "ip_adapter."


def to_ip_adapter_state(
    adapter: UserAdapter, group: Group, image_proj: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """One token group as a flat IP-Adapter state dict: `ip_adapter.{1,3,5…}.to_{k,v}_ip.weight`, `[width, d_cross]`.

    Together with the projector's own state dict as `image_proj` this is what stock `load_ip_adapter` reads; likes and
    dislikes load as two adapters.
    """
    state = {f"image_proj.{name}": value for name, value in (image_proj or {}).items()} | _weights(adapter, group)
    return {name: value.detach().contiguous() for name, value in state.items()}


def load_ip_adapter_state(adapter: UserAdapter, group: Group, state: Mapping[str, Tensor]) -> None:
    """Reads one token group from a flat IP-Adapter state dict; keys without the `ip_adapter.` prefix are left alone."""
    wanted = _weights(adapter, group)
    given = {name: value for name, value in state.items() if name.startswith(STATE_PREFIX)}
    if problems := sorted(wanted.keys() ^ given.keys()):
        raise ModelError(f"expected the adapter's {len(wanted)} {group} weights; {len(problems)} differ: {problems[0]}")
    for name, target in wanted.items():
        if given[name].shape != target.shape:
            raise ModelError(f"expected {name} of shape {list(target.shape)}, got {list(given[name].shape)}")
        with torch.no_grad():
            target.copy_(given[name])


def save_adapter(adapter: UserAdapter, folder: Path | str, dtype: torch.dtype | None = None) -> None:
    """Writes `user_adapter.json` and `{group}.safetensors` for each group, in `dtype` if given."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "version": FORMAT_VERSION,
        "groups": adapter.groups,
        "n_layers": len(adapter.layers),
        "d_cross": adapter.d_cross,
        "network": adapter.network,
    }
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n")
    for group in adapter.groups:
        state = to_ip_adapter_state(adapter, group)
        save_file({name: value.to("cpu", dtype) for name, value in state.items()}, folder / f"{group}.safetensors")


def load_adapter(folder: Path | str, network: nn.Module) -> UserAdapter:
    """Reads what `save_adapter` wrote into a float32 adapter that fits `network` (not yet injected)."""
    folder = Path(folder)
    groups, made_for = _read_config(folder / CONFIG_NAME)
    check_kind(network, made_for)
    adapter = UserAdapter.for_network(network, groups)
    for group in adapter.groups:
        path = folder / f"{group}.safetensors"
        try:
            state = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"expected the adapter's {group} weights in {path}, got: {error}") from error
        load_ip_adapter_state(adapter, group, state)
    return adapter


def _weights(adapter: UserAdapter, group: Group) -> dict[str, Tensor]:
    if group not in adapter.groups:
        raise ModelError(f"expected one of the adapter's groups {adapter.groups}, got {group!r}")
    return {
        f"{STATE_PREFIX}{2 * index + 1}.{name}": weight
        for index, layer in enumerate(adapter.layers)
        for name, weight in layer.get_submodule(group).named_parameters()
    }


def _read_config(path: Path) -> tuple[tuple[Group, ...], str]:
    """The groups, and the class of the network that the adapter was made for ("" where an older file does not say)."""
    try:
        config = json.loads(path.read_text())
        version, names, made_for = config["version"], config["groups"], str(config.get("network", ""))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"expected an adapter's config in {path}, got: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ModelError(f"expected version {FORMAT_VERSION} in {path}, got {version!r}")
    if unknown := [name for name in names if name not in GROUPS]:
        raise ModelError(f"expected groups from {', '.join(GROUPS)} in {path}, got {unknown[0]!r}")
    return tuple(name for name in GROUPS if name in names), made_for
