"""Two processes train as one: the same losses at the same global batch, checkpoints either way, one that writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from prefgen.core import ConfigError
from prefgen.recipes import ranks
from rank_jobs import N_PEOPLE, N_STEPS, gradients, start_ranks, train_preferences, train_words

CLOSE = 1e-4
"""Relative difference of losses, float32."""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process reaches; it leaves a half-trained checkpoint in `folder`."""
    folder = tmp_path_factory.mktemp("one")
    train_words(folder / "begun-by-one", 25)
    return {
        "folder": folder,
        "losses": train_words(folder / "whole"),
        "gradients": gradients(folder),
        "preferences": train_preferences(),
    }


@pytest.fixture(scope="module")
def two(one: dict[str, Any]) -> list[dict[str, Any]]:
    """What each of two ranks found."""
    for k, done in enumerate(start_ranks(2, "everything", one["folder"])):
        assert done.returncode == 0, f"rank {k}: {done.stderr}"
    return [json.loads((one["folder"] / f"everything.{k}.json").read_text()) for k in (0, 1)]


def furthest(a: list[float], b: list[float]) -> float:
    """The largest relative difference."""
    assert len(a) == len(b)
    x, y = torch.tensor(a, dtype=torch.double), torch.tensor(b, dtype=torch.double)
    return float(((x - y).abs() / y.abs().clamp_min(1e-6)).max())


def test_there_are_two_and_each_has_half_of_the_rows(two: list[dict[str, Any]]) -> None:
    assert [found["world"] for found in two] == [2, 2]
    assert [found["rows"] for found in two] == [N_PEOPLE // 2] * 2


def test_losses_are_those_of_one_process_at_the_same_global_batch(one: dict[str, Any], two: list[Any]) -> None:
    assert len(one["losses"]) == N_STEPS
    assert one["losses"][-1] < 0.9 * one["losses"][0], "something was learned"
    for found in two:
        assert furthest(found["gathered"], one["losses"]) < CLOSE


def test_without_gathering_they_are_not(one: dict[str, Any], two: list[Any]) -> None:
    """The comparison above can fail: MMD and contrast over each rank's own people give another training."""
    assert furthest(two[0]["apart"], one["losses"]) > 100 * CLOSE


def flat(by_name: dict[str, list[float]]) -> torch.Tensor:
    return torch.cat([torch.tensor(by_name[name]) for name in sorted(by_name)])


def test_gradients_are_scaled_as_those_of_one_process(one: dict[str, Any], two: list[Any]) -> None:
    truth = flat(one["gradients"])
    for found in two:
        assert set(found["gradients"]) == set(one["gradients"])
        torch.testing.assert_close(flat(found["gradients"]), truth, atol=1e-5, rtol=1e-4)
    forgotten = flat(two[0]["gradients without others"])
    assert float((forgotten - truth).norm() / truth.norm()) > 0.1, "a gathering that forgets the others' losses shows"


def test_token_counts_are_global(one: dict[str, Any], two: list[Any]) -> None:
    """Conversations of different lengths lie on the two ranks; every loss is the mean over the tokens of both."""
    for step, (together, apart) in enumerate(zip(one["preferences"], two[0]["preferences"])):
        assert set(together) == set(apart)
        assert ("same_user" in together) == (step % 2 == 0)
        for name, value in together.items():
            assert apart[name] == pytest.approx(value, rel=CLOSE, abs=1e-6), f"{name} of step {step}"
    assert two[0]["preferences"] == two[1]["preferences"]
    for found, told in zip(two, (0.0, 1.0)):
        mean, gradient, absent = found["uneven"]
        assert mean == pytest.approx(9 / 12)
        assert gradient == pytest.approx(1 / 12), f"of a value that is {told}"
        assert absent == 5.0


def test_begun_by_one_ends_the_same_by_two_and_the_reverse(one: dict[str, Any], two: list[Any]) -> None:
    for found in two:
        assert furthest(found["resumed"], one["losses"][25:]) < CLOSE
    assert furthest(train_words(one["folder"] / "begun-by-two"), one["losses"][25:]) < CLOSE


def test_the_first_rank_alone_writes_and_its_clock_counts(one: dict[str, Any], two: list[Any]) -> None:
    assert [found["deadline"] for found in two] == [1, 1]
    written = {p for p in (one["folder"] / "not-first").rglob("*") if p.is_file()}
    assert written == set()
    assert (one["folder"] / "deadline" / "words.checkpoint.safetensors").exists()


def test_a_rank_that_dies_ends_the_others_with_one_line(tmp_path: Path) -> None:
    living, dead = start_ranks(2, "die", tmp_path)
    assert dead.returncode == 9
    assert living.returncode == 2
    errors = [line for line in living.stderr.splitlines() if line.startswith("error:")]
    assert errors == ["error: rank 0 stops: another process of this run has ended"]
    assert "Traceback" not in living.stderr


def test_weights_cut_over_two_ranks_train_as_whole_ones(tmp_path: Path) -> None:
    """FSDP2: frozen and trained weights in one part; the checkpoint is the plain one, and goes either way."""
    from rank_jobs import train_cut

    whole = train_cut(tmp_path / "whole", 50)
    train_cut(tmp_path / "begun-by-one", 25)
    for done in start_ranks(2, "cut", tmp_path):
        assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "cut.0.json").read_text())
    assert sum(whole[40:]) < 0.9 * sum(whole[:10]), "something was learned"
    assert furthest(found["cut"], whole) < CLOSE
    assert furthest(found["resumed"], whole[25:]) < CLOSE
    assert furthest(train_cut(tmp_path / "begun-by-two", 50), whole[25:]) < CLOSE
    from safetensors.torch import load_file

    cut, plain = (load_file(f / "cut.checkpoint.safetensors") for f in (tmp_path, tmp_path / "whole"))
    assert {k: v.shape for k, v in cut.items()} == {k: v.shape for k, v in plain.items()}


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any launcher's variables."""
    for name in [n for n in os.environ if n.startswith("ACCELERATE_")] + ["WORLD_SIZE", "RANK", "MASTER_ADDR"]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_launcher_that_starts_fewer_than_asked_for_is_an_error(launcher: pytest.MonkeyPatch) -> None:
    ranks.check_launch(None)
    ranks.check_launch(1)
    with pytest.raises(ConfigError, match="expected 2 processes, the launcher started 1"):
        ranks.check_launch(2)
    launcher.setenv("ACCELERATE_USE_CPU", "True")
    ranks.check_launch(None)
    launcher.setenv("MASTER_ADDR", "127.0.0.1")  # as `accelerate launch --cpu --num_processes 2` leaves it
    with pytest.raises(ConfigError, match="asked for several processes and started one"):
        ranks.check_launch(None)
    ranks.check_launch(1)
    launcher.setenv("WORLD_SIZE", "2")
    launcher.setenv("RANK", "0")
    ranks.check_launch(2)


def test_fewer_rows_than_ranks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "n_ranks", lambda: 3)
    monkeypatch.setattr(ranks, "rank", lambda: 2)
    assert ranks.own(list(range(8))) == [5, 6, 7]
    with pytest.raises(ConfigError, match="at least 3 rows"):
        ranks.own([1, 2])


WORLD = r"""
import os
from prefgen.recipes import ranks
with ranks.joined():
    os.write(1, f"world {ranks.n_ranks()}\n".encode())  # at once: two ranks write to one pipe
"""


def launched_by(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A launcher's run of a script that says how many ranks there are."""
    (folder / "world.py").write_text(WORLD)
    given = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    whole = [sys.executable, "-m", *command, str(folder / "world.py")]
    return subprocess.run(whole, capture_output=True, text=True, env=given, timeout=500, check=False)


@pytest.mark.slow
def test_torchrun_starts_two(tmp_path: Path, launcher: pytest.MonkeyPatch) -> None:
    done = launched_by(["torch.distributed.run", "--standalone", "--nproc_per_node", "2"], tmp_path)
    assert done.stdout.count("world 2") == 2, done.stderr


@pytest.mark.slow
def test_accelerate_on_cpus_starts_one_and_is_caught(tmp_path: Path, launcher: pytest.MonkeyPatch) -> None:
    done = launched_by(["accelerate.commands.launch", "--cpu", "--num_processes", "2"], tmp_path)
    assert done.returncode != 0
    assert "asked for several processes and started one" in done.stderr


MULTI_CPU = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_CPU
num_machines: 1
num_processes: 2
machine_rank: 0
main_process_port: 0
mixed_precision: 'no'
use_cpu: true
"""
FEW = ("n_pictures=64", "ae_samples=64", "ae_batch=16")


def accelerated(folder: Path, *options: str, config: str = MULTI_CPU) -> subprocess.CompletedProcess[str]:
    """The smallest stage under `accelerate launch` with a config file, asking for two processes."""
    (folder / "accelerate.yaml").write_text(config)
    given = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(folder / "accelerate.yaml")]
    train = ["-m", "prefgen", "train", "--preset", "tiny", "--stage", "autoencoder", "--processes", "2", "--json"]
    places = ["--work", str(folder / "work"), "--out", str(folder / "model")]
    few = [word for one in FEW for word in ("--set", one)]
    command = [*launch, *options, *train, *places, *few]
    return subprocess.run(command, capture_output=True, text=True, env=given, timeout=500, check=False)


@pytest.mark.slow
def test_a_config_of_accelerate_for_cpus_starts_two_that_train_as_one(
    tmp_path: Path, launcher: pytest.MonkeyPatch
) -> None:
    """With `--multi_gpu`, which starts torchrun whatever the devices; the same config without it starts one."""
    done = accelerated(tmp_path, "--multi_gpu")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] is True, "the first alone speaks"
    assert (tmp_path / "model" / "vae" / "config.json").exists()
    report = json.loads((tmp_path / "work" / "autoencoder.report.json").read_text())
    assert report["samples"] == 64


@pytest.mark.slow
def test_the_same_config_without_torchrun_starts_one_and_is_refused(
    tmp_path: Path, launcher: pytest.MonkeyPatch
) -> None:
    done = accelerated(tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "error: expected 2 processes, the launcher started 1" in done.stderr
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_a_config_of_accelerate_that_cuts_weights_is_not_taken_for_one_that_does_not(
    tmp_path: Path, launcher: pytest.MonkeyPatch
) -> None:
    """`distributed_type: FSDP` means `--shard`, which a stage whose weights fit everywhere refuses."""
    config = MULTI_CPU.replace("MULTI_CPU", "FSDP") + "fsdp_config:\n  fsdp_version: 2\n"
    done = accelerated(tmp_path, config=config)
    assert done.returncode != 0
    assert "hint: without distributed_type: FSDP" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_whole_chain_on_two_ranks_trains_as_on_one(tmp_path: Path) -> None:
    """Every stage with its real loss, in float32. Stages stand on one another, so rounding grows from stage to stage;
    first losses agree to a hundredth. Later ones may part further: a stage stands on weights that were rounded to half
    precision, and evidence learns fast (0.14 after 16 steps; every other stage 0.02 at most), from words that it has
    just learned to read (0.02 in its first loss on one kind of CPU, below 0.01 on others)."""
    seen = []
    for n in (1, 2):
        folder = tmp_path / str(n)
        folder.mkdir()
        for done in start_ranks(n, "chain", folder, timeout_s=1700):
            assert done.returncode == 0, done.stderr
        seen.append([json.loads((folder / f"chain.{k}.json").read_text()) for k in range(n)])
    (one_alone,), (first, second) = seen
    assert set(first) == set(second) == set(one_alone)
    assert len(first) > 12
    for name, losses in one_alone.items():
        assert furthest(first[name][:1], losses[:1]) < (5e-2 if name == "evidence" else 1e-2), name
        assert furthest(first[name], losses) < (0.3 if name == "evidence" else 5e-2), name
        assert furthest(second[name], first[name]) < 1e-6, name
    for part in ("vae", "unet", "text_encoder", "image_encoder", "mllm", "evidence", "user_encoder", "adapter"):
        assert (tmp_path / "2" / "work" / "model" / part).exists(), part
    assert (tmp_path / "2" / "work" / "shipped" / "embedded" / "prefgen.json").exists()
