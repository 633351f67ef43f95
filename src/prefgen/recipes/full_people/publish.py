"""The folder of a model trained on published weights: their files, what was learned, and what it says of itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.pipeline.card import Defaults, ModelCard, write_card
from prefgen.pipeline.known import describe_known
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.full_people.parts import LORA, Parts, copy_of
from prefgen.recipes.own_data.features import People
from prefgen.recipes.own_data.report import REPORT

SAMPLING: dict[str, dict[str, float]] = {
    "sd15": {"num_inference_steps": 30, "guidance_scale": 7.5},
    "sdxl": {"num_inference_steps": 30, "guidance_scale": 5.0},
    "sd3": {"num_inference_steps": 40, "guidance_scale": 4.5},
    "flux": {"num_inference_steps": 28, "guidance_scale": 3.5},
}
"""Settings that the generators' own pages name; strengths of likes and dislikes are 1 until somebody has tuned them."""
KNOWN_PICTURES = 5_000
"""Most pictures from which is told what the model knows."""


def publish(
    parts: Parts, report: dict[str, Any], train: People, *, trained: Path, lora: Path | None, out: Path
) -> None:
    """Puts the model's folder in place when it is whole. `trained` holds user encoder and adapter, `lora` the language
    model's updates and its calibration."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for path in sorted(p for p in parts.folder.rglob("*") if p.is_file()):
        copy_of(path, part / path.relative_to(parts.folder))
    shutil.copytree(trained, part, dirs_exist_ok=True)
    if lora is not None:
        shutil.copytree(lora, part / "mllm" / LORA)
        calibration = part / "mllm" / "calibration.json"
        calibration.unlink(missing_ok=True)  # it may be a hard link to a published file
        shutil.move(part / "mllm" / LORA / "calibration.json", calibration)
    save_json(part / "layers.json", report["layers"])
    write_card(_card(parts, train), part)
    save_json(part / REPORT, report)
    if out.exists():
        out.rmdir()
    os.replace(part, out)


def _card(parts: Parts, train: People) -> ModelCard:
    keys = [opinion.key for place in range(len(train)) for opinion in train.person(place).opinions]
    drawn = np.linspace(0, len(keys) - 1, min(len(keys), KNOWN_PICTURES)).astype(int)
    known = describe_known(train.rows("clip", [keys[int(k)] for k in drawn]))
    sampling: Any = SAMPLING[parts.preset.backbone]
    return ModelCard(preset=parts.preset.name, default=Defaults(**sampling), known_features=known)
