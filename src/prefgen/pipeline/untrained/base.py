"""A user's own Stable Diffusion 1.5 or SDXL by name or folder: found, checked, counted, loaded by diffusers itself."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

from prefgen.core import ConfigError, ModelError, nearest_hint
from prefgen.core.errors import is_out_of_memory
from prefgen.pipeline.hub import hub_arguments, unreachable
from prefgen.pipeline.loading import check_pipeline, device_named, dtype_named, loaded, safetensors_header

KINDS: dict[str, Any] = {kind.__name__: kind for kind in (StableDiffusionPipeline, StableDiffusionXLPipeline)}
"""What can be painted with: pipelines with a UNet and their stock IP-Adapters."""
KNOWN_BASES = (
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "stabilityai/stable-diffusion-xl-base-1.0",
)
"""Names for hints; any other of the same kinds is as good."""


def base_folder(name: str | os.PathLike[str], *, variant: str | None = None, **hub: Any) -> Path:
    """The folder of a base, downloaded if need be; its kind is looked at before a single weight is.

    Raises:
        ModelError: there is no such base, it cannot be reached, is of another kind, or is not whole.
    """
    text = os.fspath(name)
    folder = Path(text).expanduser()
    if folder.is_file():
        hint = "StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER) makes a folder of it"
        raise ModelError(f"expected a base's folder or hub name, got the file {folder}", hint=hint)
    if not folder.is_dir():
        if text.count("/") != 1 or text.startswith((".", "/", "~")) or text.endswith("/"):
            raise ModelError(f"there is no base {text!r}", hint=_nearest(text))
        folder = _downloaded(text, variant, hub_arguments(**hub))
    index = folder / "model_index.json"
    if index.is_file():  # what is of another kind need not be whole to be told so
        _check_kind(text, loaded(index.name, lambda: json.loads(index.read_text())))
    check_pipeline(folder)
    return folder


def check_kind(pipe: Any) -> None:
    """Raises `ModelError` for a pipeline of another kind."""
    if not isinstance(pipe, tuple(KINDS.values())):
        _refuse_kind("the pipeline", type(pipe).__name__)


def numbers_of(folder: Path, variant: str | None = None) -> dict[str, int]:
    """How many numbers each part of a base's folder holds, read off its files' headers."""
    counted: dict[str, int] = {}
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = sorted(part.glob("*.safetensors"))
        plain = [path for path in paths if "." not in path.stem]
        varied = [path for path in paths if variant and path.stem.split(".")[-1].split("-")[0] == variant]
        entries = [entry for path in varied or plain or paths for entry in safetensors_header(path)[1].values()]
        if entries and (part / "config.json").exists():
            counted[part.name] = sum(math.prod(entry["shape"]) for entry in entries)
    wanted = json.loads((folder / "model_index.json").read_text())
    return {part: n for part, n in counted.items() if isinstance(wanted.get(part), list) and any(wanted[part])}


def dtype_for(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """A dtype by name; `auto` is float16 on cuda and float32 elsewhere."""
    if dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    return dtype_named(dtype)


def load_base(
    folder: Path,
    *,
    device: str,
    dtype: torch.dtype,
    variant: str | None = None,
    offload: bool = False,
    tile: bool = False,
) -> Any:
    """The stock pipeline of a folder. `offload` keeps on the device only the part that works (diffusers'
    `enable_model_cpu_offload`), `tile` decodes in tiles and one picture at a time.

    Raises:
        ModelError: it cannot be loaded.
        ConfigError: nothing to offload from.
    """
    where = device_named(device)
    if offload and where.type == "cpu":
        raise ConfigError("expected a cuda or mps device to offload from, got cpu", hint="leave --offload out")
    kind = KINDS[json.loads((folder / "model_index.json").read_text())["_class_name"]]
    more = {} if variant is None else {"variant": variant}
    pipe = loaded(
        "pipeline",
        lambda: kind.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, **more),
    )
    if tile:
        pipe.vae.enable_slicing()
        pipe.vae.enable_tiling()
    if offload:
        pipe.enable_model_cpu_offload(device=where)
    else:
        pipe.to(where)
    return pipe


@contextmanager
def memory_told(doing: str, ways_out: Sequence[str]) -> Iterator[None]:
    """Tells running out of memory as one line and what to lower.

    Raises:
        ConfigError: the device or the machine has no memory left.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        hint = f"lower one of these: {', '.join(ways_out)}" if ways_out else "use a smaller base"
        raise ConfigError(f"there was not enough memory for {doing}", hint=hint) from error


def _downloaded(name: str, variant: str | None, hub: dict[str, Any]) -> Path:
    try:
        _check_kind(name, dict(DiffusionPipeline.load_config(name, **hub)))  # pyright: ignore[reportCallIssue, reportArgumentType]
        more = {} if variant is None else {"variant": variant}
        return Path(DiffusionPipeline.download(name, use_safetensors=True, **hub, **more))
    except ModelError:
        raise
    except Exception as error:  # no network, no space, no such name: the clients have an error for each
        raise unreachable("base", name, error, _nearest(name), token=hub.get("token")) from error


def _check_kind(name: str, index: dict[str, Any]) -> None:
    if (kind := index.get("_class_name")) not in KINDS:
        _refuse_kind(name, str(kind))


def _refuse_kind(name: str, kind: str) -> None:
    raise ModelError(
        f"expected a Stable Diffusion 1.5 or SDXL pipeline (with a UNet, from text to picture), got {kind} in {name}",
        hint=f"use {' or '.join(KNOWN_BASES)}, or a model made from one of them",
    )


def _nearest(name: str) -> str:
    return nearest_hint(name, KNOWN_BASES) or f"known names: {', '.join(KNOWN_BASES)}; a folder will do too"
