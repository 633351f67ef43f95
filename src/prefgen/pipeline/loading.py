"""A model's name or folder to its parts, or to one line that says what is missing."""

from __future__ import annotations

import importlib.resources
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch

from prefgen.core import ConfigError, ModelError, nearest_hint
from prefgen.embedding import TasteEvidence
from prefgen.pipeline.card import CARD_NAME
from prefgen.pipeline.hub import EMBEDDED, from_hub, is_hub_name, nearest_model
from prefgen.pipeline.ports import PreferenceModel

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
OUR_PARTS = ("image_encoder", "feature_extractor", "mllm", "user_encoder", "adapter")
LARGE_BYTES = 10**9
"""Weights of a language model beyond which it is loaded in the dtype that is asked for."""
_WITHOUT_WEIGHTS = ("tokenizer", "scheduler", "feature_extractor", "image_processor", "safety_checker")

T = TypeVar("T")


def folder_of(name: str | os.PathLike[str], **hub: Any) -> Path:
    """The folder of a model: `embedded`, a folder, or a hub name (`someone/their-model`, downloaded if need be).

    `hub` are arguments of `huggingface_hub.snapshot_download` (`revision`, `token`, `cache_dir`, `local_files_only`).

    Raises:
        ModelError: there is no such model, or it cannot be reached.
    """
    text = os.fspath(name)
    if text == EMBEDDED:
        return _embedded()
    folder = Path(text).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError(f"expected a model folder, got the file {folder}")
    if is_hub_name(text):
        return from_hub(text, hub)
    hint = nearest_model(text, hub) or "give `embedded`, a folder, or a hub name such as someone/their-model"
    raise ModelError(f"there is no model {text!r}", hint=hint)


def check_whole(folder: Path, *, needs_mllm: bool = True) -> None:
    """Looks for everything a model folder must hold, and for files cut short.

    Raises:
        ModelError: names what is missing or cut short.
    """
    index = folder / "model_index.json"
    names = [n for n in ("model_index.json", CARD_NAME) if not (folder / n).is_file()]
    parts = [*pipeline_parts(index), *OUR_PARTS] if index.is_file() else list(OUR_PARTS)
    parts = [part for part in dict.fromkeys(parts) if needs_mllm or part != "mllm"]
    missing = names + [found for part in parts for found in _missing_in(folder / part)]
    _refuse(folder, missing, folder.rglob("*.safetensors"))


def model_folder(name: str | os.PathLike[str] = EMBEDDED, **hub: Any) -> Path:
    """The whole folder of a model by name, checked but not loaded. `hub` as in `folder_of`."""
    folder = folder_of(name, **hub)
    check_whole(folder)
    return folder


def check_pipeline(folder: Path) -> None:
    """`check_whole` for a stock pipeline's folder, which holds none of our parts.

    Raises:
        ModelError: names what is missing or cut short.
    """
    index = folder / "model_index.json"
    parts = pipeline_parts(index) if index.is_file() else []
    missing = [found for part in parts for found in _missing_in(folder / part)] if parts else ["model_index.json"]
    _refuse(folder, missing, (path for part in parts for path in (folder / part).rglob("*.safetensors")))


def device_named(name: str) -> torch.device:
    """`auto` takes the best there is: cuda, then mps, then cpu.

    Raises:
        ConfigError: an unknown device, or one this machine does not have.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    kind = name.split(":")[0]
    if kind not in there:
        raise ConfigError(f"expected a device of {', '.join(DEVICES)}, got {name!r}", hint=nearest_hint(name, DEVICES))
    if not there[kind]:
        raise ConfigError(f"this machine or this torch has no {kind}", hint="use --device auto or --device cpu")
    return torch.device(name)


def dtype_named(name: str | torch.dtype) -> torch.dtype:
    """A torch dtype by name: float32, float16 or bfloat16."""
    if isinstance(name, torch.dtype):
        return name
    if name not in DTYPES:
        raise ConfigError(f"expected a dtype of {', '.join(DTYPES)}, got {name!r}", hint=nearest_hint(name, DTYPES))
    return DTYPES[name]


def loaded(part: str, load: Callable[[], T]) -> T:
    """What `load` returns; whatever goes wrong inside is told as one line that names the part."""
    try:
        return load()
    except ModelError:
        raise
    except Exception as error:  # the loaders of three libraries raise nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"the model's {part} cannot be loaded: {reason}", hint="download or train it again") from error


def load_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The stock diffusers pipeline of the folder, of whichever class its `model_index.json` names."""
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    cast = {} if dtype is torch.float32 else {"torch_dtype": dtype}
    pipe = loaded(
        "generator",
        lambda: DiffusionPipeline.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, **cast
        ),
    )
    return pipe.to(device, dtype)


def load_image_encoder(folder: Path, device: torch.device) -> tuple[Any, Any]:
    """The CLIP vision tower and its preprocessing, in float32."""
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    encoder = loaded(
        "image_encoder",
        lambda: CLIPVisionModelWithProjection.from_pretrained(
            folder / "image_encoder", dtype=torch.float32, local_files_only=True, use_safetensors=True
        ),
    )
    extractor = loaded(
        "feature_extractor",
        lambda: CLIPImageProcessorPil.from_pretrained(folder / "feature_extractor", local_files_only=True),
    )
    return encoder.eval().requires_grad_(False).to(device), extractor  # pyright: ignore[reportArgumentType]


def load_evidence(folder: Path, device: torch.device) -> TasteEvidence | None:
    """The folder's evidence of taste; a model may come without."""
    if not (folder / "evidence").exists():
        return None
    return loaded("evidence", lambda: TasteEvidence.load(folder / "evidence")).to(device).requires_grad_(False)


def load_mllm(folder: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> PreferenceModel:
    """The preference model of the folder, with its updates where there are any (`mllm/lora`), in float32; a large one
    in `dtype`."""
    from prefgen.mllm import PreferenceMLLM

    lora = folder / "mllm" / "lora"
    more: dict[str, Any] = {"lora": lora} if lora.is_dir() else {}
    if sum(path.stat().st_size for path in (folder / "mllm").glob("*.safetensors")) > LARGE_BYTES:
        more["dtype"] = dtype
    return loaded("mllm", lambda: PreferenceMLLM.from_pretrained(folder / "mllm", device=str(device), **more))


def without_loading_bars() -> None:
    """Silences the progress bars that two libraries draw for every file they read; sampling keeps its own."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _embedded() -> Path:
    folder = Path(str(importlib.resources.files("prefgen"))) / "weights" / EMBEDDED
    if not folder.is_dir():
        raise ModelError(
            "this installation of prefgen came without the embedded model's weights",
            hint="install it from a whole checkout or wheel, or train them: prefgen train --preset embedded",
        )
    return folder


def _refuse(folder: Path, missing: list[str], files: Iterable[Path]) -> None:
    """Raises `ModelError` where something is missing or one of `files` is cut short."""
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise ModelError(
            f"the model in {folder} is not whole: missing {shown}",
            hint="download or train it again; what is there is kept",
        )
    for path in sorted(files):
        if not _is_whole(path):
            raise ModelError(
                f"{path.relative_to(folder)} in {folder} is cut short or damaged", hint="download it again"
            )


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Raises `ModelError` where one of these files is missing or cut short."""
    paths = [folder / name for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    _refuse(folder, missing, (path for path in paths if path.suffix == ".safetensors" and path.is_file()))


def pipeline_parts(index: Path) -> list[str]:
    """The parts that a `model_index.json` names."""
    try:
        entries = json.loads(index.read_text())
        return [name for name, value in entries.items() if isinstance(value, list) and any(value)]
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{index} cannot be read: {error}") from error


def _missing_in(part: Path) -> list[str]:
    """What a part lacks, as names inside the model folder."""
    if not part.is_dir() or not any(part.glob("*.json")):
        return [f"{part.name}/"]
    if part.name.removesuffix("_2").removesuffix("_3") in _WITHOUT_WEIGHTS:
        return []
    shards: set[str] = set()
    for index in part.glob("*.safetensors.index.json"):
        try:
            shards |= set(json.loads(index.read_text())["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return [f"{part.name}/{index.name}"]
    if not shards and not any(part.glob("*.safetensors")):
        return [f"{part.name}/*.safetensors"]
    return [f"{part.name}/{shard}" for shard in sorted(shards) if not (part / shard).is_file()]


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        n, tensors = safetensors_header(path)
        ends = [entry["data_offsets"][1] for entry in tensors.values()]
        return path.stat().st_size == 8 + n + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False


def safetensors_header(path: Path) -> tuple[int, dict[str, Any]]:
    """A safetensors file's header: its length in bytes, and each tensor's `dtype`, `shape` and `data_offsets`.

    Raises:
        ValueError: the file is too short to hold it, or it is no JSON.
    """
    with path.open("rb") as file:
        n = int.from_bytes(file.read(8), "little")
        if not 2 <= n <= path.stat().st_size - 8:
            raise ValueError(f"{path} is cut short")
        header = json.loads(file.read(n))
    return n, {name: entry for name, entry in header.items() if name != "__metadata__"}
