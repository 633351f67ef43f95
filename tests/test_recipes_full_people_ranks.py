"""Two processes train on people as one does, stop and go on; with whole weights each, or with weights cut over both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prefgen import PrefGen
from prefgen.adapter import UserAdapter, network_of
from prefgen.recipes.backbone_adapter import PersonalBackbone
from prefgen.recipes.full_run import train_full
from prefgen.recipes.own_data.report import REPORT
from prefgen.recipes.prepared_rows import save_rows
from rank_jobs import ROW_FAMILIES, people_job, rows_preset, start_ranks
from test_recipes_backbones import two_people
from tiny_backbones import silent_pipeline
from tiny_own_data import people_folder, start_folder
from tiny_published import published_preset


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with people, published weights, and what one process has learned: `model-one`."""
    home = tmp_path_factory.mktemp("home")
    people_folder(home / "people", 14, splits=("train", "train", "validation", "test"))
    published_preset(home, "sd15-idefics2")  # written once, before anybody reads it
    people_job(home, "one")
    return home


def on(n: int, job: str, home: Path, stop: str | None) -> list[str]:
    """What each of n processes says of a run, whose time is up where `stop` says."""
    (home / "stop").write_text(stop) if stop is not None else (home / "stop").unlink(missing_ok=True)
    each = start_ranks(n, job, home)
    assert not any(p.returncode for p in each), [p.stderr[-2000:] for p in each]
    assert (stop is not None) == ("the same command resumes" in each[0].stderr)
    (home / "stop").unlink(missing_ok=True)
    return [p.stdout for p in each]


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
    stopped = on(2, "people", home, "")
    assert all("none" in said for said in stopped)
    assert ["done" in said for said in on(2, "people", home, None)] == [True, False]
    assert_as_one(home, "people")


@pytest.mark.slow
def test_cut_weights_train_on_people_as_whole_ones_and_one_process_goes_on(home: Path) -> None:
    """Within the LoRA two stop and one goes on, within the adapter one stops and two go on; then two measure anew."""
    assert held_by_each("lora", on(2, "sharded", home, "lora 3")) == pytest.approx([0.5, 0.5], abs=0.05)
    assert_same_kind(home, "lora")
    assert held_by_each("adapter", on(1, "sharded", home, "adapter 5")) == [1.0]
    ended = on(2, "sharded", home, None)
    assert held_by_each("adapter", ended) == pytest.approx([0.5, 0.5], abs=0.05)
    assert ["done" in said for said in ended] == [True, False]
    assert_same_kind(home, "adapter")
    assert_as_one(home, "sharded")
    (home / "model-sharded").rename(home / "first")
    on(2, "sharded", home, None)
    assert (home / "model-sharded" / REPORT).read_text() == (home / "first" / REPORT).read_text()


def held_by_each(stage: str, said: list[str]) -> list[float]:
    """The share of a stage's weights in each process."""
    return [float(one.split(f"{stage} holds ")[1].split()[0]) for one in said]


def assert_same_kind(home: Path, stage: str) -> None:
    """A checkpoint of several processes has what one's has."""
    saved, whole = (load_file(home / f"work-{n}" / f"{stage}.checkpoint.safetensors") for n in ("sharded", "one"))
    assert 0 < int(saved["step"]) <= int(whole["step"])
    assert {k: v.shape for k, v in saved.items()} == {k: v.shape for k, v in whole.items()}


@pytest.mark.slow
def test_adapters_of_every_kind_of_network_are_cut(tmp_path: Path) -> None:
    """On prepared rows, begun and ended by two, and begun by two and ended by one."""
    for family in ROW_FAMILIES:
        pipe = silent_pipeline(family)
        pipe.save_pretrained(tmp_path / family)
        for name in ("one", "two"):
            save_rows(two_people(pipe, family), tmp_path / f"{family}-{name}" / "rows", 0)
    both = start_ranks(2, "rows", tmp_path)
    assert not any(p.returncode for p in both), [p.stderr[-2000:] for p in both]
    for family in ROW_FAMILIES:
        preset, network = rows_preset(tmp_path, family), network_of(silent_pipeline(family))
        for name in ("one", "begun-by-two"):
            work = tmp_path / f"{family}-{name}"
            assert train_full(preset, work=work, out=work / "model")
        names = ("one", "two", "begun-by-two")
        made = {n: PersonalBackbone.load(tmp_path / f"{family}-{n}" / "model", network).state_dict() for n in names}
        fresh = UserAdapter.for_network(network, init="copy").state_dict()
        for key, start in fresh.items():
            alone = made["one"][f"adapter.{key}"]
            moved = (alone - start).norm()
            assert moved > 0, key
            for n in names[1:]:
                assert (made[n][f"adapter.{key}"] - alone).norm() < 1e-2 * moved, f"{family} {n} {key}"


@pytest.mark.slow
def test_a_finished_model_learns_on_over_two_processes_as_in_one(tmp_path: Path) -> None:
    people_folder(tmp_path / "people")
    start_folder(tmp_path / "start")
    said = [[p.stdout for p in start_ranks(n, "own", tmp_path)] for n in (1, 2)]
    assert [["done" in one for one in each] for each in said] == [[True], [True, False]]
    for part in ("mllm/model", "user_encoder/model", "adapter/like", "adapter/dislike"):
        before, one, two = (load_file(tmp_path / n / f"{part}.safetensors") for n in ("start", "model-1", "model-2"))
        before, one, two = (
            torch.cat([tensors[k].double().flatten() for k in sorted(one)]) for tensors in (before, one, two)
        )
        assert (one - before).norm() > 0
        assert (two - one).norm() < 2e-2 * (one - before).norm(), part
    figures = [json.loads((tmp_path / f"model-{n}" / REPORT).read_text())["figures"]["validation"] for n in (1, 2)]
    for figure, row in figures[0].items():
        assert figures[1][figure]["after"]["value"] == pytest.approx(row["after"]["value"], abs=2e-3), figure
    assert PrefGen.from_pretrained(tmp_path / "model-2", device="cpu").sha256
