"""The whole demo in a process of its own: timed, and told of where it fails."""

from __future__ import annotations

import math
import subprocess
from typing import Any

import pytest

from prefgen.benchmark import cold_start
from prefgen.benchmark.cold_start import cold_start_rows


def test_a_demo_that_fails_has_a_row_that_says_why_and_no_figure():
    (row,) = cold_start_rows("no/such/model", 3)
    assert math.isnan(row.value)
    assert "no/such/model" in row.metric


def test_median_least_and_most_of_whole_processes(monkeypatch: pytest.MonkeyPatch):
    clock, asked = iter([0.0, 9.0, 10.0, 15.0, 20.0, 27.0]), []

    def demo(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(cold_start.subprocess, "run", demo)
    monkeypatch.setattr(cold_start.time, "perf_counter", lambda: next(clock))
    (row,) = cold_start_rows("embedded", 3)
    assert (row.value, row.low, row.high, row.n) == (7.0, 5.0, 9.0, 3)
    assert all("demo" in command and command[command.index("--model") + 1] == "embedded" for command in asked)
