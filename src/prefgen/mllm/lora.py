"""LoRA on the language model of any family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefgen.core import ModelError

LANGUAGE_MODEL = r".*(text_model|language_model)\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
"""The linear layers of the language model, by any family's names; the perceiver's own q_proj stays out."""


def with_lora(model: Any, *, rank: int, alpha: int | None = None, dropout: float = 0.0) -> Any:
    """The model with low-rank updates that start at zero, all else frozen. `alpha` is the rank by default.

    r = 8, alpha = 8, dropout 0.1 are the paper family's values (arXiv 2508.08220).
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=alpha or rank, lora_dropout=dropout, target_modules=LANGUAGE_MODEL)
    return get_peft_model(model, config)


def merged(model: Any) -> Any:
    """The plain model with the updates folded into its weights."""
    return model.merge_and_unload()


def save_lora(model: Any, folder: Path) -> None:
    """Writes the updates alone in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

    No path of this machine goes into it: whoever loads it names the base model.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    config = model.peft_config[model.active_adapter]
    before, config.base_model_name_or_path = config.base_model_name_or_path, ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(folder)
    finally:
        config.base_model_name_or_path = before
    tensors = {k: v.detach().cpu().contiguous() for k, v in get_peft_model_state_dict(model).items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def load_lora(base: Any, folder: Path) -> Any:
    """The base model with the updates of a folder in PEFT's format, frozen; safetensors only.

    Raises:
        ModelError: the folder lacks one of the two files.
    """
    from peft import PeftModel

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder.name} has no {name}", hint="expected a LoRA folder as PEFT writes it")
    return PeftModel.from_pretrained(base, str(folder))
