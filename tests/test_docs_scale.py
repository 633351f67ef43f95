"""Every command and block of docs/scale.md, and `prefgen embed`; what starts processes of its own is slow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import plain
from pages import blocks, commands, swapped, words_of
from prefgen.cli.main import status_of
from prefgen.recipes.embed_people import read_index, stored_tokens
from rank_jobs import free_port
from tiny_own_data import people_folder, start_folder

PAGE = "docs/scale.md"
LAUNCHES = [command for command in commands(PAGE) if " -m prefgen train " in command]
PLANS = [command for command in commands(PAGE) if command.startswith("prefgen train ")]
EMBEDS = [command for command in commands(PAGE) if "prefgen embed " in command]
COLOURS = ("red", "darkred", "blue", "navy", "gold", "olive", "grey", "white", "green")
needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed: pip install 'prefgen[ray]'")


def test_every_command_is_one_of_these() -> None:
    install = "pip install 'prefgen[ray]'"  # from an index; that the extra exists is checked for every page
    assert set(commands(PAGE)) == {*LAUNCHES, *PLANS, *EMBEDS, install}
    assert (len(LAUNCHES), len(PLANS), len(EMBEDS)) == (4, 1, 3)


def launched(command: str) -> list[str]:
    """What the command's launcher starts, by the launcher's own reading of its options."""
    launcher, *words = words_of(command)
    if launcher == "torchrun":
        from torch.distributed.run import get_args_parser

        read = get_args_parser().parse_args(words)
    else:
        from accelerate.commands.launch import launch_command_parser

        assert (launcher, words.pop(0)) == ("accelerate", "launch")
        read = launch_command_parser().parse_args(words)
    assert read.module
    assert read.training_script == "prefgen"
    return list(read.training_script_args)


SMALLER = {"flux-idefics2": "sd15-smolvlm"}
"""The least preset takes the same words as the largest, whose networks are long in the making even without weights."""


@pytest.mark.parametrize("command", [*LAUNCHES, *PLANS])
def test_launchers_and_the_verb_know_their_options(
    command: str, cheap: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that can be said of several hosts and of cards here: both read the command, and the verb's plan stands."""
    monkeypatch.chdir(tmp_path)
    people_folder(Path("PEOPLE"), 6)
    command = swapped(command, SMALLER) if "flux" in command else command
    words = words_of(command)[1:] if command in {swapped(plan, SMALLER) for plan in PLANS} else launched(command)
    assert status_of([*words, *([] if "--dry-run" in words else ["--dry-run"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dry_run"] is True


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in LAUNCHES if c.startswith("torchrun") and "--shard" not in c])
def test_torchrun_trains(command: str, tmp_path: Path) -> None:
    """This machine stands for both hosts, two processes for sixteen, and time is up at once. What is cut over processes
    trains in `test_recipes_full_people_ranks`."""
    if "HOST" in command:
        here = {"--nnodes 2": "--nnodes 1", "HOST:29500": f"127.0.0.1:{free_port()}"}
        command = swapped(command, here | {"per_node 8": "per_node 2", "--processes 16": "--processes 2"})
    given = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "torch.distributed.run", *words_of(command)[1:], "--max-minutes", "0"]
    small = [word for name in ("n_pictures=64", "ae_samples=32") for word in ("--set", name)]
    done = subprocess.run([*words, *small], capture_output=True, text=True, cwd=tmp_path, env=given, timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("unfinished: the same command resumes") == 1, "the first rank alone speaks"
    assert (tmp_path / "runs" / "tiny").is_dir()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`people.jsonl` and `people.parquet`, nine people of a liked and a disliked picture, and a tiny random model in
    the embedded one's place."""
    import pyarrow
    import pyarrow.parquet

    embedded = start_folder(tmp_path / "model")
    monkeypatch.setattr("prefgen.pipeline.loading._embedded", lambda: embedded)
    monkeypatch.chdir(tmp_path)
    for colour in COLOURS:
        plain(colour).save(f"{colour}.png")
    rows = [
        {"person": f"person-{k}", "liked": [f"{colour}.png"], "disliked": [f"{COLOURS[k - 1]}.png"]}
        for k, colour in enumerate(COLOURS)
    ]
    Path("people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "people.parquet")
    return tmp_path


def check_tokens(folder: Path, model: Path) -> None:
    """Everybody is there, with the tokens that the model itself gives."""
    from prefgen import PrefGen

    index = read_index(folder)
    assert set(index) == {f"person-{k}" for k in range(len(COLOURS))}
    loaded = PrefGen.from_pretrained(model, device="cpu")
    for k in (0, 7):
        truth = loaded.embed(loaded.profile(liked=[f"{COLOURS[k]}.png"], disliked=[f"{COLOURS[k - 1]}.png"]))
        stored = stored_tokens(folder, index[f"person-{k}"])
        torch.testing.assert_close(stored.like, truth.like, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(stored.dislike, truth.dislike, atol=1e-3, rtol=1e-3)


def test_the_verb_embeds_everybody_once_and_the_page_reads_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = words_of(EMBEDS[0])[1:]
    assert status_of(words) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.strip() == f"{len(COLOURS)} people embedded, 0 were there before, 0 left out"
    check_tokens(Path("tokens"), here / "model")
    [block] = blocks(PAGE, "python")
    stored = stored_tokens(Path("tokens"), read_index(Path("tokens"))["person-7"])
    torch.testing.assert_close(block.run()["tokens"].like, stored.like, atol=0, rtol=0)
    assert status_of([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"out": "tokens", "n_now": 0, "n_before": len(COLOURS), "failed": {}}


def test_the_verb_names_who_is_left_out_and_refuses_what_it_cannot_do(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = json.dumps({"person": "person-lost", "liked": ["gone.png"]})
    Path("few.jsonl").write_text(Path("people.jsonl").read_text().splitlines()[0] + f"\n{row}\n")
    assert status_of(["embed", "--people", "few.jsonl", "-o", "few", "--per-shard", "1", "--json"]) == 0
    printed = capsys.readouterr()
    assert set(json.loads(printed.out)["failed"]) == {"person-lost"}
    assert "person-lost" in printed.err
    for wrong, told in {
        ("--people", "few.jsonl", "-o", "few", "--engine", "rya"): "expected an engine of local, ray, got 'rya'",
        ("--people", "gone.jsonl", "-o", "few"): "gone.jsonl does not exist",
        ("--people", "few.jsonl", "-o", "few", "--model", "gone"): "there is no model 'gone'",
    }.items():
        assert status_of(["embed", *wrong]) == 2
        assert told in capsys.readouterr().err


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", EMBEDS[1:])
def test_ray_embeds(
    command: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two workers stand for 8 and 64, a cluster started here for the one at HOST, this folder for `/shared`."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    cluster: Any = None
    if command.startswith("RAY_ADDRESS="):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 6, "include_dashboard": False})
        command = swapped(
            command, {"HOST:6379": cluster.address, "/shared/": f"{here}/", "--workers 64": "--workers 2"}
        )
        setting, command = command.split(" ", 1)
        monkeypatch.setenv(*setting.split("="))
    else:
        command = swapped(command, {"--workers 8": "--workers 2"})
    try:
        status = status_of([*words_of(command)[1:], "--per-shard", "3"])
    finally:
        ray.shutdown()
        if cluster is not None:
            cluster.shutdown()
    assert status == 0, capsys.readouterr().err
    assert len(list(Path("tokens").glob("*.safetensors"))) == 3
    check_tokens(Path("tokens"), here / "model")
