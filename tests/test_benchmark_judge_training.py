"""The judges' training stage at its smallest: it resumes, saves both judges, and reports every value."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from prefgen.agents import LOOKS, SETTINGS, SUBJECTS, all_values
from prefgen.benchmark.judge import Judge
from prefgen.core import ConfigError
from prefgen.recipes.autoencoder import new_autoencoder
from prefgen.recipes.context import Context
from prefgen.recipes.judges import judges_folder, reconstructed, train_judges
from prefgen.recipes.loop import Deadline, Unfinished
from prefgen.recipes.presets import preset_named

PRESET = preset_named("tiny").with_overrides(judge_samples=48, judge_pictures=64, judge_per_value=1)


def _context(folder: Path, minutes: float | None = None) -> Context:
    work, out = folder / "work", folder / "out" / "tiny"
    work.mkdir(parents=True, exist_ok=True)
    return Context(preset=PRESET, work=work, out=out, deadline=Deadline(minutes=minutes))


def _with_autoencoder(c: Context) -> Context:
    torch.manual_seed(0)
    new_autoencoder(PRESET).save_pretrained(c.out / "vae")
    return c


def test_judges_need_the_autoencoder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="autoencoder before the judges"):
        reconstructed(_context(tmp_path), np.zeros((1, 64, 64, 3), np.uint8))


@pytest.mark.slow
def test_a_broken_stage_resumes_to_the_same_judges_and_reports_every_value(tmp_path: Path) -> None:
    whole = _with_autoencoder(_context(tmp_path / "whole"))
    train_judges(whole)
    broken = _with_autoencoder(_context(tmp_path / "broken", minutes=0.0))
    with pytest.raises(Unfinished):
        train_judges(broken)
    train_judges(_context(tmp_path / "broken"))
    for name in ("validation", "test"):
        one, two = (judges_folder(c) / name / "model.safetensors" for c in (whole, broken))
        assert one.read_bytes() == two.read_bytes()
        Judge.load(one.parent)
    report = json.loads((judges_folder(whole) / "attributes.json").read_text())
    assert set(report["values"]) == {*SUBJECTS, *SETTINGS, *LOOKS, *all_values()}
    assert set(report["failing"]) <= {*LOOKS, *all_values()}
    assert set(report["values"]["gold"]) == {
        "family",
        *(f"{where}_{judge}" for where in ("paintings", "reconstructions") for judge in ("validation", "test")),
    }
