"""The measurement at full size, on tiny sizes of the same classes: it runs to its end, and says what did not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CALLS = {
    "sdxl_adapter_training_step": ["step"],
    "sdxl_picture": ["plain", "stock_ip_adapter", "with_a_person"],
    "idefics2_lora_training_step": ["step"],
    "idefics2_embedding_of_8_plus_8": ["reading"],
}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the measurement, as Python has it when a file in it is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def bench(tmp_path: Path):
    from full_size_timing import Measurement

    head = {"command": "test"}
    return Measurement(device=torch.device("cpu"), n_rounds=2, path=tmp_path / "found.json", head=head)


def read(bench: Any) -> dict[str, Any]:
    return json.loads(bench.path.read_text())


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "full_size.py"), *map(str, arguments)]
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=given, timeout=500, check=False)


def test_the_command_measures_every_part_and_says_what_of_and_on_what(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tiny.json"
    done = run("--tiny", "--rounds", 2, "--out", path)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(path.read_text())
    assert found["command"] == f"python benchmarks/full_size.py --tiny --rounds 2 --out {path}"
    assert len(found["commit"]) in (0, 40)
    assert found["kind"].startswith("measured, random weights")
    assert "no figures to cite" in found["kind"]
    assert found["device"]["kind"] == "cpu"
    assert (found["n"], found["size"], found["dtype"], found["failures"]) == (2, "tiny", "bfloat16", {})
    assert {name: list(part["calls"]) for name, part in found["parts"].items()} == CALLS
    for part in found["parts"].values():
        assert part["state"] == "measured"
        for call in part["calls"].values():
            assert (call["state"], call["n"], len(call["rounds_s"])) == ("measured", 2, 2)
            assert 0 < call["seconds"]["low"] <= call["seconds"]["value"] <= call["seconds"]["high"]
            assert call["memory"]["bytes"] > 2**20
            assert "peak RSS" in call["memory"]["of"]
    ratios = found["parts"]["sdxl_picture"]["ratios"]
    plain, person = (found["parts"]["sdxl_picture"]["calls"][name]["rounds_s"] for name in ("plain", "with_a_person"))
    assert ratios["with_a_person / plain"]["value"] == pytest.approx(sum(person) / sum(plain))
    assert {"with_a_person / stock_ip_adapter", "stock_ip_adapter / plain"} <= ratios.keys()


def test_full_size_without_a_gpu_and_too_few_rounds_are_refused(tmp_path: Path) -> None:
    done = run("--out", tmp_path / "x.json")
    assert done.returncode == 2
    assert "--counted counts without one, --tiny shows" in done.stderr
    assert "2 rounds or more" in run("--tiny", "--rounds", 1).stderr
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nand more"), "out of memory"),
        (ValueError("expected another shape"), "failed"),
    ],
)
def test_what_fails_is_told_and_the_rest_is_measured(bench, error: Exception, state: str, capsys) -> None:
    from full_size_timing import Call

    turns: list[str] = []

    def fails() -> None:
        turns.append("bad")
        raise error

    def part(bench: Any, name: str) -> None:
        calls = {"good": Call(run=lambda: turns.append("good")), "bad": Call(run=fails), "late": Call(run=list)}
        bench.rounds(name, calls)

    def broken(bench: Any, name: str) -> None:
        raise error

    bench.part("calls", part)
    bench.part("broken", broken)
    bench.part("after", lambda bench, name: bench.rounds(name, {"one": Call(run=list)}))
    found = read(bench)
    calls, message = found["parts"]["calls"]["calls"], f"{type(error).__name__}: {str(error).splitlines()[0]}"
    assert [calls[name]["state"] for name in calls] == ["measured", state, "measured"]
    assert turns == ["good", "bad", "good", "good"], "one round that is not counted, two that are; no second try"
    assert calls["bad"]["message"] == message
    assert list(found["parts"]["calls"]["ratios"]) == ["late / good"]
    assert found["parts"]["broken"]["state"] == found["parts"]["calls"]["state"] == state
    assert found["parts"]["after"]["state"] == "measured"
    assert found["failures"] == {"calls: bad": message, "broken": message}
    assert "Traceback" in capsys.readouterr().err


def test_a_run_that_is_cut_off_keeps_its_rounds(bench) -> None:
    from full_size_timing import Call

    seen: list[int] = []

    def second_round() -> None:
        seen.append(len(seen))
        if len(seen) == 3:
            raise KeyboardInterrupt

    bench.part("first", lambda bench, name: bench.rounds(name, {"one": Call(run=list)}))
    with pytest.raises(KeyboardInterrupt):
        bench.part("second", lambda bench, name: bench.rounds(name, {"one": Call(run=second_round)}))
    found = read(bench)
    assert found["parts"]["first"]["state"] == "measured"
    assert found["parts"]["second"]["state"] == "begun"
    assert found["parts"]["second"]["calls"]["one"]["n"] == 1


def test_the_command_ends_with_an_error_where_a_part_failed(tmp_path: Path, monkeypatch, capsys) -> None:
    import full_size
    import full_size_gpu
    from full_size_timing import Call

    def broken(bench: Any, name: str) -> None:
        raise RuntimeError("no such kernel")

    def good(bench: Any, name: str) -> None:
        bench.rounds(name, {"one": Call(run=list)})

    monkeypatch.setattr(full_size_gpu, "parts_of", lambda size: {"broken": broken, "good": good})
    assert full_size.measured(tiny=True, n_rounds=2, out=tmp_path / "x.json") == 1
    assert "not measured: broken: RuntimeError: no such kernel" in capsys.readouterr().err
    assert json.loads((tmp_path / "x.json").read_text())["parts"]["good"]["state"] == "measured"


def test_a_card_is_waited_for_and_its_peak_is_of_the_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from full_size_timing import device_told, emptied, timed

    log: list[str] = []
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: log.append(name))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: log.append("empty_cache"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(name="card", total_memory=80)
    )
    timed(lambda: log.append("call"), torch.device("cpu"))
    emptied(torch.device("cpu"))
    assert log == ["call"], "no call of a card's on a CPU"
    log.clear()
    seconds, memory = timed(lambda: log.append("call"), torch.device("cuda"))
    assert log == ["synchronize", "reset_peak_memory_stats", "call", "synchronize"]
    assert seconds > 0
    assert memory == {"bytes": 7, "of": "tensors on the card, peak of the call"}
    assert device_told(torch.device("cuda")) == {"kind": "cuda", "name": "card", "bytes": 80}
    emptied(torch.device("cuda"))
    assert log[-1] == "empty_cache"


def test_what_is_timed_is_a_training_step_of_what_is_trained(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """LoRA learns and nothing sends gradients back through the frozen tower, whose cost is none of the step's."""
    import full_size_gpu
    from full_size_sizes import tiny

    kept: list[Any] = []
    wrap = full_size_gpu.with_lora
    monkeypatch.setattr(full_size_gpu, "with_lora", lambda *a, **k: kept.append(wrap(*a, **k)) or kept[-1])
    ways_back: list[bool] = []

    def rounds(name: str, calls: dict[str, Any]) -> None:
        whole = kept[0].get_base_model()
        before = {n: p.detach().clone() for n, p in kept[0].named_parameters()}
        whole.model.vision_model.register_forward_hook(
            lambda *seen: ways_back.append(seen[2].last_hidden_state.requires_grad)
        )
        for _ in range(2):
            calls["step"].run()
        moved = {n for n, p in kept[0].named_parameters() if not torch.equal(p, before[n])}
        assert moved
        assert all("lora_" in n and p.dtype == torch.float32 for n, p in kept[0].named_parameters() if n in moved)
        assert {p.dtype for n, p in kept[0].named_parameters() if "lora_" not in n} == {torch.bfloat16}

    monkeypatch.setattr(bench, "rounds", rounds)
    bench.parts["part"] = {}
    full_size_gpu.lora_training(tiny(), bench, "part")
    assert ways_back == [False, False]
    unet = full_size_gpu.on_device(tiny().generator["network"], torch.device("cpu"))
    assert {p.dtype for p in unet.parameters()} == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32
