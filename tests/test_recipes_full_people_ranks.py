"""Two processes train on people as one does, stop and go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prefgen import PrefGen
from prefgen.recipes.own_data.report import REPORT
from rank_jobs import people_job, start_ranks
from tiny_own_data import people_folder
from tiny_published import published_preset


@pytest.mark.slow
def test_two_processes_train_on_people_as_one_does(tmp_path: Path) -> None:
    people_folder(tmp_path / "people", 14, splits=("train", "train", "validation", "test"))
    published_preset(tmp_path, "sd15-idefics2")  # written once, before anybody reads it
    people_job(tmp_path)
    (tmp_path / "stop").touch()
    stopped = start_ranks(2, "people", tmp_path)
    assert [p.returncode for p in stopped] == [0, 0], stopped[0].stderr[-2000:]
    assert all("none" in p.stdout for p in stopped)
    assert "the same command resumes" in stopped[0].stderr
    (tmp_path / "stop").unlink()
    both = start_ranks(2, "people", tmp_path)
    assert [p.returncode for p in both] == [0, 0], [p.stderr[-2000:] for p in both]
    assert ["done" in p.stdout for p in both] == [True, False]
    one, two = (tmp_path / f"model-{n}" for n in (1, 2))
    begun_at_zero = {
        "mllm/lora/adapter_model.safetensors": lambda key: "lora_B" in key,
        "user_encoder/model.safetensors": lambda key: "logits" in key or key.endswith("norm.bias"),
    }
    for name, is_one in begun_at_zero.items():
        first, second = (
            torch.cat([v.float().flatten() for k, v in sorted(load_file(folder / name).items()) if is_one(k)])
            for folder in (one, two)
        )
        assert first.norm() > 0.01, "it has not moved"
        assert (first - second).norm() < 1e-3 * first.norm(), name
    figures = [json.loads((folder / REPORT).read_text())["figures"]["validation"] for folder in (one, two)]
    for name, row in figures[0].items():
        assert figures[1][name]["after"]["value"] == pytest.approx(row["after"]["value"], abs=1e-3)
    assert PrefGen.from_pretrained(two, device="cpu").user_encoder.config.n_tokens == 2
