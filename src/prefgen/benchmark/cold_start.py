"""How long somebody waits who has just installed this: from a new process to the demo's last picture."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from prefgen.benchmark.ood import not_run
from prefgen.benchmark.results import Row

METRIC = "cold_start_seconds"
_DEMO = (sys.executable, "-c", "import sys; from prefgen.cli.main import run; sys.exit(run())", "demo")


def cold_start_rows(model: str | Path, n: int) -> list[Row]:
    """`cold_start_seconds`: a process that starts, loads the model and paints the whole demo (twelve pictures and what
    was understood); median, least and most of `n`. Other programs on the machine make it unsteady."""
    taken = []
    for _ in range(n):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            done = subprocess.run([*_DEMO, "--model", str(model), "-o", folder], capture_output=True, text=True)
            taken.append(time.perf_counter() - start)
        if done.returncode:
            told = done.stderr.strip().splitlines() or ["no message"]
            return [not_run(METRIC, f"because the demo ended with status {done.returncode}: {told[0]}")]
    low, high = min(taken), max(taken)
    return [Row(method="prefgen", metric=METRIC, value=float(np.median(taken)), low=low, high=high, n=n)]
