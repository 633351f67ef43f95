"""The last stage: what the model says of itself, and a half-precision copy fit to be shipped."""

from __future__ import annotations

import json
import shutil

import torch

from prefgen.agents.subjects import SUBJECTS
from prefgen.pipeline.card import Defaults, ModelCard, write_card
from prefgen.pipeline.known import describe_known
from prefgen.recipes.captions import known_words
from prefgen.recipes.checkpoint import cast_copy
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
            shipped = c.work / "shipped" / {"model": "embedded"}.get(name, name)
            shutil.rmtree(shipped, ignore_errors=True)
            cast_copy(c.out.parent / name, shipped, torch.float16)
