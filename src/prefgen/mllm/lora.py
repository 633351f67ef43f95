"""LoRA on the language model of any family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from prefgen.core import ModelError

LANGUAGE_MODEL = r".*(text_model|language_model)\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
"""The linear layers of the language model, by any family's names; the perceiver's own q_proj stays out."""


def with_lora(model: Any, *, rank: int, alpha: int | None = None, dropout: float = 0.0) -> Any:
    """The model with low-rank updates that start at zero, all else frozen. `alpha` is the rank by default.

    r = 8, alpha = 8, dropout 0.1 are the paper family's values (arXiv 2508.08220). A model loaded in four bits is made
    ready for training first (QLoRA, arXiv 2305.14314).
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if getattr(model, "is_loaded_in_4bit", False):
        checkpointing = bool(getattr(model, "is_gradient_checkpointing", False))
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    config = LoraConfig(r=rank, lora_alpha=alpha or rank, lora_dropout=dropout, target_modules=LANGUAGE_MODEL)
    return get_peft_model(model, config)


def save_lora(model: Any, folder: Path | str, weights: Mapping[str, Tensor] | None = None) -> None:
    """Writes the updates alone in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

    No path of this machine goes into it: whoever loads it names the base model. `weights` are the model's trained
    parameters by name where the model holds a part of each only (FSDP).
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder = Path(folder)
    config = model.peft_config[model.active_adapter]
    before, config.base_model_name_or_path = config.base_model_name_or_path, ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(folder)
    finally:
        config.base_model_name_or_path = before
    tensors = {k: v.detach().cpu().contiguous() for k, v in get_peft_model_state_dict(model, weights).items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def load_lora(model: Any, folder: Path | str, *, trainable: bool = False) -> Any:
    """The model with updates that `save_lora`, or PEFT, has written.

    Raises:
        ModelError: no updates lie there, or those of another model.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    folder = Path(folder)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"expected LoRA weights in {folder}, got no {name}", hint="save them with save_lora")
    try:
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"expected LoRA weights of this model in {folder}, got {said}") from error


def merged(model: Any) -> Any:
    """The plain model with the updates folded into its weights."""
    return model.merge_and_unload()
