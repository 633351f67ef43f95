"""A model and its processor from a folder or a hub name, with one clear line for everything that can be amiss."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from prefgen.core import ModelError
from prefgen.core.secrets import without_secrets
from prefgen.mllm.families import HUB_NAMES, Family, family_of, hub_hint, image_token_of
from prefgen.mllm.processors import load_processor

FAILURES = (OSError, ImportError, ValueError, KeyError, AttributeError, TypeError, RuntimeError, SafetensorError)
HUB_ARGUMENTS = ("cache_dir", "local_files_only", "revision", "subfolder", "token", "trust_remote_code")


def load_pair(
    name: str | Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    attention: str | None = None,
    four_bit: bool = False,
    **kwargs: Any,
) -> tuple[Any, Any, Family]:
    """The model, its processor and its family.

    Raises:
        ModelError: no such folder or hub name, a part of it missing, a model of another kind, an extra not installed.
    """
    from transformers import AutoConfig

    check_place(name)
    if attention is not None:
        _need("flash_attn", "flash-attn", attention == "flash_attention_2", "flash attention")
        kwargs["attn_implementation"] = attention
    _need("bitsandbytes", "'prefgen[quant]'", four_bit, "four-bit weights")
    try:
        hub = {k: v for k, v in kwargs.items() if k in HUB_ARGUMENTS}
        config: Any = AutoConfig.from_pretrained(str(name), **hub)
        family = family_of(config)
        model = _load_model(str(name), device, dtype, four_bit, kwargs)
        processor = load_processor(str(name), family, **hub)
    except FAILURES as error:
        clean = without_secrets(str(error), kwargs.get("token")) == str(error)  # a traceback prints the cause
        raise _explained(str(name), error, kwargs.get("token")) from (error if clean else None)
    _check_match(name, model, processor)
    return model, processor, family


def _load_model(name: str, device: str, dtype: torch.dtype, four_bit: bool, kwargs: dict[str, Any]) -> Any:
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    if four_bit:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if dtype == torch.float32 else dtype,
        )
        kwargs = {**kwargs, "quantization_config": config, "device_map": {"": device}}
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        name, dtype=dtype, use_safetensors=True, output_loading_info=True, **kwargs
    )
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:  # transformers fills them with chance and goes on
        raise ModelError(
            f"expected all weights of {type(model).__name__} in {name}, got none for {len(missing)}: {missing[0]}, …",
            hint="download the folder again",
        )
    keep_way_back(model)
    return model if "device_map" in kwargs else model.to(device)


def keep_way_back(model: Any) -> None:
    """Leaves weights in four bits as they are. On CPUs that multiply bfloat16, bitsandbytes repacks those of a model in
    eval mode, for good, into a form that knows no way back for gradients and that small layers do not fit."""
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def check_place(name: str | Path) -> None:
    """Raises `ModelError` where a folder does not exist or is plainly not whole."""
    folder = Path(name)
    if not folder.is_dir():
        text = str(name)
        if isinstance(name, Path) or folder.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1:
            raise ModelError(f"expected a folder of a vision-language model, got {name}, which is no folder")
        return
    unfinished = [path.name for path in folder.rglob("*.incomplete")]
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    missing += _missing_weights(folder)
    if not any((folder / n).is_file() for n in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        missing.append("tokenizer.json")
    if not any((folder / n).is_file() for n in ("preprocessor_config.json", "processor_config.json")):
        missing.append("preprocessor_config.json")
    if missing or unfinished:
        amiss = f"no {', no '.join(missing)}" if missing else f"the unfinished {', '.join(unfinished)}"
        raise ModelError(
            f"expected a whole vision-language model in {folder}, got a folder with {amiss}",
            hint="the download may have stopped half-way: start it again",
        )


def _missing_weights(folder: Path) -> list[str]:
    """Weight files that should lie in the folder and do not, or cannot be read to their end."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            return ["readable model.safetensors.index.json"]
    else:
        names = ["model.safetensors"]
    return [name for name in names if not (folder / name).is_file()] + [
        f"whole {name}" for name in names if (folder / name).is_file() and not _opens(folder / name)
    ]


def _opens(path: Path) -> bool:
    """Whether a weights file is whole: its head says how long it is."""
    try:
        with safe_open(str(path), framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _need(module: str, package: str, wanted: bool, what: str) -> None:
    if wanted and find_spec(module) is None:
        raise ModelError(f"expected {module} for {what}, got none installed", hint=f"pip install {package}")


def _explained(name: str, error: BaseException, token: object = None) -> ModelError:
    """One line for what transformers says in many."""
    said = without_secrets(" ".join(str(error).split()), token)
    if not Path(name).is_dir():
        hint = hub_hint(name)
        if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
            return ModelError(
                f"expected {name} on this machine, because HF_HUB_OFFLINE is set, got nothing downloaded",
                hint=hint or "unset HF_HUB_OFFLINE, or give the folder that holds the model",
            )
        return ModelError(
            f"expected a folder or hub name of a vision-language model, got {name}: {said[:160]}",
            hint=hint or f"check the spelling and the network; known names include {', '.join(HUB_NAMES[:3])}",
        )
    package = said.split("pip install ")[-1].split()[0].strip("`.'\"") if "pip install " in said else None
    return ModelError(
        f"expected a vision-language model in {name}, got {type(error).__name__}: {said[:300]}",
        hint=f"pip install {package}" if package else None,
    )


def _check_match(name: str | Path, model: Any, processor: Any) -> None:
    """Raises `ModelError` where the processor belongs to another model."""
    ours = image_token_of(model.config)
    theirs = getattr(processor, "image_token_id", None)
    size = model.get_input_embeddings().weight.shape[0]
    if theirs is not None and theirs != ours:
        raise ModelError(f"expected a processor whose picture token is {ours} in {name}, got {theirs}: another model's")
    if len(processor.tokenizer) > size:
        raise ModelError(f"expected a tokenizer of at most {size} tokens in {name}, got {len(processor.tokenizer)}")


def beside(folder: Path) -> dict[str, Any]:
    """What `calibration.json` and `words.json` in a model's folder say."""
    found: dict[str, Any] = {}
    if (folder / "calibration.json").is_file():
        raw = json.loads((folder / "calibration.json").read_text())
        found |= {k: float(v) for k, v in raw.items() if k in ("temperature", "word_temperature")}
    if (folder / "words.json").is_file():
        found["words"] = [(entry["word"], entry["family"]) for entry in json.loads((folder / "words.json").read_text())]
    return found
