"""The judge against a person: a numbered sheet of generated pictures, and the verdicts written beside it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from prefgen.agents import FAMILIES
from prefgen.benchmark.judge import NONE
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import mean_interval
from prefgen.core import DataError, numpy_rng

VERDICTS_PATH = Path(__file__).with_name("by_eye.csv")
N_PICTURES, N_COLUMNS, SCALE, GAP = 100, 10, 2, 14


def write_sheet(results: Results, folder: Path, seed: int = 0) -> None:
    """Writes `by_eye.png` and `by_eye.csv`: 100 generated pictures (no painter's) and what the judge sees in each.

    A person fills the columns `subject_right` and `worded_right` with 1 or 0; `verdict_rows` reads them.
    """
    pool = [(m, i) for m in results.methods if m != "painter" for i in range(len(results.tasks))]
    order = numpy_rng("by eye", seed).permutation(len(pool))[:N_PICTURES]
    chosen = [pool[int(k)] for k in order]
    folder.mkdir(parents=True, exist_ok=True)
    cell = 64 * SCALE
    sheet = Image.new("RGB", (N_COLUMNS * cell, -(-len(chosen) // N_COLUMNS) * (cell + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    with (folder / "by_eye.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["number", "method", "prompt", "subject", "worded", "subject_right", "worded_right"])
        for number, (method, i) in enumerate(chosen):
            x, y = number % N_COLUMNS * cell, number // N_COLUMNS * (cell + GAP)
            picture = Image.fromarray(results.pictures[method][i])
            sheet.paste(picture.resize((cell, cell), Image.Resampling.NEAREST), (x, y + GAP))
            draw.text((x + 2, y + 1), str(number), fill="black")
            seen = results.readings[method].rows([i])
            worded = [a for f in FAMILIES if (a := seen.answers(f)[0]) != NONE]
            table.writerow(
                [number, method, results.tasks[i].prompt, seen.answers("subject")[0], "; ".join(worded), "", ""]
            )
    sheet.save(folder / "by_eye.png")


def verdict_rows(path: Path = VERDICTS_PATH) -> list[Row]:
    """`judge_accuracy_{subject,worded}_by_eye` from a filled table; no rows while there is none."""
    if not path.exists():
        return []
    with path.open(newline="") as lines:
        table = list(csv.DictReader(lines))
    rows = []
    for head in ("subject", "worded"):
        try:
            right = np.array([float(line[f"{head}_right"]) for line in table])
        except (KeyError, ValueError) as error:
            raise DataError(f"expected 1 or 0 in every {head}_right of {path.name}, got {error}") from error
        rows.append(row("judge", f"judge_accuracy_{head}_by_eye", mean_interval(right)))
    return rows
