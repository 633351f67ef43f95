"""What every stage of a training run is given: where, how large, and until when."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prefgen.recipes.loop import Deadline
from prefgen.recipes.pictures import paint_pictures
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import is_first


@dataclass(frozen=True, kw_only=True)
class Context:
    """One training run. `work` holds checkpoints and caches (may be lost), `out` the model folder that is built."""

    preset: Preset
    work: Path
    out: Path
    deadline: Deadline
    start: Path | None = None
    """A finished model's folder, of which `out` holds a copy: vision tower, generator, adapter, baselines and judges
    train on from there."""

    def begins_again(self, stage: str) -> bool:
        """Whether a stage that `out` shows as finished is to be trained on from there, and has not been yet."""
        return self.start is not None and not (self.work / f"{stage}.report.json").exists()

    @property
    def sees_anew(self) -> bool:
        """Whether the vision tower was trained on here: what is read from it is then learned anew."""
        return self.start is not None and (self.work / "vision.report.json").exists()

    def pictures(self, split: str = "train") -> np.ndarray:
        """uint8 [n, 64, 64, 3], painted on first use."""
        share = {"train": 1, "twins": 3}.get(split, 30)
        n = max(64, self.preset.n_pictures // share)
        return paint_pictures(self.work / "pictures", split, n, self.preset.seed)

    def say(self, message: str) -> None:
        """A line for the person at the terminal, from the first of several processes."""
        if is_first():
            print(message, file=sys.stderr, flush=True)
