"""LoRA on the language model of any family."""

from __future__ import annotations

from typing import Any

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
