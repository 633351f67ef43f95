"""Peak memory of `prefgen data pick-a-pic` on 10,000 and on 100,000 generated rows, in processes of their own.

    python benchmarks/pick_a_pic_memory.py -o results/pick_a_pic_memory.json

Needs the extra `data`. Rows have Pick-a-Pic's columns and tiny JPEGs (32 px, under 1 KB); every twentieth row is a tie.
Peak memory is what the operating system says of the whole process (ru_maxrss), the imports of torch included.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROWS_PER_GROUP, CHOICES_PER_USER = 1000, 20
COLUMNS = {
    "user_id": pa.int64(),
    "caption": pa.string(),
    "jpg_0": pa.binary(),
    "jpg_1": pa.binary(),
    "label_0": pa.float64(),
    "label_1": pa.float64(),
    "has_label": pa.bool_(),
    "image_0_url": pa.string(),
}


def jpeg(number: int) -> bytes:
    """A picture of its own for every number."""
    rng = np.random.default_rng(number)
    file = io.BytesIO()
    coarse = Image.fromarray(rng.integers(0, 255, (2, 2, 3), dtype=np.uint8))
    coarse.resize((32, 32), Image.Resampling.BILINEAR).save(file, "JPEG")
    return file.getvalue()


def groups(n_rows: int) -> Iterator[pa.Table]:
    """Row groups whose users are spread over the whole file."""
    for start in range(0, n_rows, ROWS_PER_GROUP):
        rows = range(start, min(n_rows, start + ROWS_PER_GROUP))
        labels = [0.5 if row % 20 == 7 else float(row % 2) for row in rows]
        cells = {
            "user_id": [(row * 7919) % max(1, n_rows // CHOICES_PER_USER) for row in rows],
            "caption": [f"a picture number {row}" for row in rows],
            "jpg_0": [jpeg(2 * row) for row in rows],
            "jpg_1": [jpeg(2 * row + 1) for row in rows],
            "label_0": labels,
            "label_1": [1 - label for label in labels],
            "has_label": [True] * len(rows),
            "image_0_url": ["x" * 200] * len(rows),
        }
        yield pa.table(cells, schema=pa.schema(COLUMNS))


def generate(path: Path, n_rows: int) -> None:
    """Writes a parquet file of `n_rows`, group by group."""
    with pq.ParquetWriter(path, pa.schema(COLUMNS)) as writer:
        for table in groups(n_rows):
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)


def measure(n_rows: int, folder: Path) -> dict[str, object]:
    """One run in a process of its own: seconds, peak memory, counts."""
    source = folder / f"{n_rows}.parquet"
    generate(source, n_rows)
    command = [sys.executable, __file__, "--child", str(source), str(folder / f"out-{n_rows}")]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    file = {"rows": n_rows, "file_mib": round(source.stat().st_size / 2**20, 1)}
    return {**file, "seconds": round(time.monotonic() - started, 1), **told}


def child(source: str, out: str) -> None:
    """Runs the verb in this process and prints its peak memory."""
    from prefgen.cli.main import status_of

    status = status_of(["data", "pick-a-pic", source, "-o", out, "--min-side-px", "32"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10)
    counts = json.loads((Path(out) / "data.json").read_text())["counts"]
    print(json.dumps({"peak_rss_mib": round(peak, 1), "counts": counts}))
    sys.exit(status)


def commit() -> str:
    """The commit this runs from."""
    return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("results/pick_a_pic_memory.json"))
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--child", nargs=2, metavar=("SOURCE", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
    told: dict[str, object] = {
        "command": "python benchmarks/pick_a_pic_memory.py -o results/pick_a_pic_memory.json",
        "commit": commit(),
        "versions": {"python": platform.python_version(), "pyarrow": pa.__version__},
    }
    runs: list[dict[str, object]] = []
    for n_rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure(n_rows, Path(folder)))
        arguments.out.write_text(json.dumps({**told, "runs": runs}, indent=1) + "\n")
        print(f"{n_rows:>8,} rows: {runs[-1]['peak_rss_mib']} MiB, {runs[-1]['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
