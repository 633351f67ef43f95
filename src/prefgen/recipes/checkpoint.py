"""Checkpoints as safetensors and JSON: nothing is pickled, and a torn write never replaces a whole file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from prefgen.recipes.sharding import cut_like


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Writes a safetensors file beside `path` and renames it into place; metadata values become JSON strings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = {k: v.detach().contiguous().cpu().clone() for k, v in tensors.items()}
    part = path.with_suffix(path.suffix + ".part")
    save_file(flat, part, {k: json.dumps(v) for k, v in (metadata or {}).items()})
    os.replace(part, path)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file."""
    return load_file(path)


def load_metadata(path: Path) -> dict[str, Any]:
    """The metadata that `save_tensors` wrote."""
    with safe_open(path, framework="pt") as file:
        return {k: json.loads(v) for k, v in (file.metadata() or {}).items()}


def cast_copy(source: Path, target: Path, dtype: torch.dtype) -> None:
    """Copies a folder with every floating tensor in `dtype`; other files as they are. Metadata is kept, files that are
    there already stay."""
    for path in sorted(p for p in source.rglob("*") if p.is_file() and ".part" not in p.suffixes):
        out = target / path.relative_to(source)
        if out.exists():
            continue
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_suffix(out.suffix + ".part")
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {"format": "pt"}
            tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in load_tensors(path).items()}
            save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata)
        else:
            shutil.copyfile(path, part)
        os.replace(part, out)


def save_json(path: Path, value: Any) -> None:
    """Writes JSON beside `path` and renames it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    os.replace(part, path)


def fingerprint(*folders: Path) -> str:
    """12 hex digits over the weights in some model folders: what a cache or checkpoint made from them depends on."""
    digest = hashlib.sha256()
    for path in (p for folder in folders for p in sorted(folder.rglob("*.safetensors"))):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimiser's state as flat tensors `{parameter index}.{name}`, cut where its parameter is."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(v) for i, slot in state.items() for name, v in slot.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """The inverse of `optimizer_tensors`. Moments take their parameter's memory format: the fused optimiser reads both
    in storage order, and pairs a channels-last parameter with other elements' moments otherwise."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)]
        same = value.shape == like.shape
        laid_out = torch.empty_like(like, dtype=value.dtype).copy_(cut_like(value, like)) if same else value
        slots.setdefault(int(index), {})[name] = laid_out
    whole = optimizer.state_dict()
    whole["state"] = slots
    optimizer.load_state_dict(whole)


def with_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Keys with `prefix.` put before them."""
    return {f"{prefix}.{k}": v for k, v in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose keys start with `prefix.`, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}
