"""Training on from a finished model: a lost checkpoint costs a warm-up, not the stage."""

from __future__ import annotations

from pathlib import Path

import torch

from prefgen.core import ModelError
from prefgen.recipes.checkpoint import cast_copy


def begin_from(source: Path, out: Path) -> None:
    """Copies a finished model folder, and `baselines` and `judges` beside it, in full precision to where `out` lies.

    What is there already is left alone, so that the same command resumes.

    Raises:
        ModelError: `source` holds no model.
    """
    if not (source / "model_index.json").is_file():
        raise ModelError(f"expected a finished model to start from, got {source}", hint="name a model's folder")
    cast_copy(source, out, torch.float32)
    for beside in ("baselines", "judges"):
        if (source.parent / beside).is_dir():
            cast_copy(source.parent / beside, out.parent / beside, torch.float32)
