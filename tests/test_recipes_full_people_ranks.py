"""Two processes train on people as one does, stop and go on; with whole weights each, or with weights cut over both."""

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


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with people, published weights, and what one process has learned: `model-one`."""
    home = tmp_path_factory.mktemp("home")
    people_folder(home / "people", 14, splits=("train", "train", "validation", "test"))
    published_preset(home, "sd15-idefics2")  # written once, before anybody reads it
    people_job(home, "one")
    return home


def on_two(job: str, home: Path, stop: str | None) -> list[str]:
    """What each of two processes says of a run, whose time is up where `stop` says."""
    (home / "stop").write_text(stop) if stop is not None else (home / "stop").unlink(missing_ok=True)
    both = start_ranks(2, job, home)
    assert [p.returncode for p in both] == [0, 0], [p.stderr[-2000:] for p in both]
    assert (stop is not None) == ("the same command resumes" in both[0].stderr)
    (home / "stop").unlink(missing_ok=True)
    return [p.stdout for p in both]


def assert_as_one(home: Path, name: str) -> None:
    """The model is the one that one process has learned."""
    one, other = (home / f"model-{n}" for n in ("one", name))
    begun_at_zero = {
        "mllm/lora/adapter_model.safetensors": lambda key: "lora_B" in key,
        "user_encoder/model.safetensors": lambda key: "logits" in key or key.endswith("norm.bias"),
    }
    for file, is_one in begun_at_zero.items():
        first, second = (
            torch.cat([v.float().flatten() for k, v in sorted(load_file(folder / file).items()) if is_one(k)])
            for folder in (one, other)
        )
        assert first.norm() > 0.01, "it has not moved"
        assert (first - second).norm() < 1e-3 * first.norm(), file
    figures = [json.loads((folder / REPORT).read_text())["figures"]["validation"] for folder in (one, other)]
    for figure, row in figures[0].items():
        assert figures[1][figure]["after"]["value"] == pytest.approx(row["after"]["value"], abs=1e-3)
    assert PrefGen.from_pretrained(other, device="cpu").user_encoder.config.n_tokens == 2


@pytest.mark.slow
def test_two_processes_train_on_people_as_one_does(home: Path) -> None:
    stopped = on_two("people", home, "")
    assert all("none" in said for said in stopped)
    assert ["done" in said for said in on_two("people", home, None)] == [True, False]
    assert_as_one(home, "people")


@pytest.mark.slow
def test_cut_weights_train_on_people_as_whole_ones_and_one_process_goes_on(home: Path) -> None:
    """Stopped within the LoRA on two, gone on with on two, stopped within the adapter, and ended by one."""
    on_two("sharded", home, "lora 3")
    on_two("sharded", home, "adapter 8")
    saved = load_file(home / "work-sharded" / "adapter.checkpoint.safetensors")
    assert int(saved["step"]) == 8
    whole = load_file(home / "work-one" / "adapter.checkpoint.safetensors")
    assert {k: v.shape for k, v in saved.items()} == {k: v.shape for k, v in whole.items()}
    people_job(home, "sharded")
    assert_as_one(home, "sharded")
