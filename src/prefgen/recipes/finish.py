"""The last stage: what the model says of itself, and a half-precision copy fit to be shipped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from prefgen.agents.subjects import SUBJECTS
from prefgen.pipeline.card import Defaults, ModelCard, write_card
from prefgen.pipeline.known import describe_known
from prefgen.recipes.captions import known_words
from prefgen.recipes.checkpoint import load_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.people_features import clip_embeddings

N_KNOWN = 2048
"""Training pictures from which `known_features` are measured."""


def finish_model(c: Context) -> None:
    """Writes `prefgen.json` into the model folder and a float16 copy into `shipped/`, beside baselines and judges."""
    defaults = c.work / "defaults.json"
    chosen = Defaults(**json.loads(defaults.read_text())) if defaults.exists() else Defaults()
    card = ModelCard(
        preset=c.preset.name,
        default=chosen,
        words=known_words(),
        subjects=SUBJECTS,
        known_features=describe_known(clip_embeddings(c.out, c.pictures()[:N_KNOWN])),
    )
    write_card(card, c.out)
    for name in ("model", "baselines", "judges"):
        if (c.out.parent / name).exists():
            half_copy(c.out.parent / name, c.work / "shipped" / {"model": "embedded"}.get(name, name))


def half_copy(source: Path, target: Path) -> None:
    """Copies a folder with every floating tensor in float16; other files as they are. Metadata is kept."""
    from safetensors import safe_open

    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(p for p in source.rglob("*") if p.is_file() and ".part" not in p.suffixes):
        out = target / path.relative_to(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".safetensors":
            shutil.copyfile(path, out)
            continue
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = {
            k: v.half() if v.is_floating_point() and v.dtype != torch.float16 else v
            for k, v in load_tensors(path).items()
        }
        _save(out, tensors, metadata)


def _save(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Safetensors with string metadata left untouched (`format: pt` is asked for by transformers)."""
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata or {"format": "pt"})
