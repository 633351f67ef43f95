"""Reading a scorer's weights: a folder, a file, or a hub name; safetensors only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from prefgen.core import ModelError

T = TypeVar("T")
CONVERT = "convert a .pt, .pth or .bin file once, where you trust it, with safetensors.torch.save_file"


def found(name: str, kind: str, load: Callable[[], T]) -> T:
    """What `load` gives; one `ModelError` that names the model for whatever it raises where weights are missing."""
    try:
        return load()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().split("\n")[0]
        raise ModelError(
            f"expected the weights of {kind} in {name}, got {first}",
            hint="name a folder that holds them, or a hub model that is in the cache or can be reached",
        ) from error


def state_of(path: str | Path, kind: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of the only one in a folder. A pickle is refused."""
    path = Path(path)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file() or files[0].suffix != ".safetensors":
        got = [f.name for f in files] or "none"
        raise ModelError(f"expected one safetensors file of {kind} at {path}, got {got}", hint=CONVERT)
    return found(str(path), kind, lambda: load_file(files[0]))
