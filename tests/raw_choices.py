"""Pick-a-Pic files made on the spot: real columns, tiny pictures, every kind of row that must be dropped."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "caption": pa.string(),
        "jpg_0": pa.binary(),
        "jpg_1": pa.binary(),
        "label_0": pa.float64(),
        "label_1": pa.float64(),
        "has_label": pa.bool_(),
        "created_at": pa.timestamp("us"),
        "image_0_url": pa.string(),
        "best_image_uid": pa.string(),
    }
)


def picture(number: int, side_px: int = 64, kind: str = "JPEG") -> bytes:
    """A picture of its own for every number, as a file."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((side_px, side_px), Image.Resampling.BILINEAR).save(file, kind)
    return file.getvalue()


def plain_picture(colour: str = "black", side_px: int = 64) -> bytes:
    """One colour all over, as a safety filter paints."""
    file = io.BytesIO()
    Image.new("RGB", (side_px, side_px), colour).save(file, "JPEG")
    return file.getvalue()


def choice(user: int | None, first: int | bytes, second: int | bytes, label: float | None = 1.0, **cells: Any) -> dict:
    """A row. Pictures by number or as bytes; `label` is `label_0`."""
    sides = [picture(side) if isinstance(side, int) else side for side in (first, second)]
    row = {
        "user_id": user,
        "caption": "a fox by a lake",
        "jpg_0": sides[0],
        "jpg_1": sides[1],
        "label_0": label,
        "label_1": None if label is None else 1 - label,
        "has_label": True,
        "created_at": None,
        "image_0_url": "never read",
        "best_image_uid": "never read",
    }
    return {**row, **cells}


def write(path: Path, rows: Iterable[dict], *, rows_per_group: int = 8, schema: pa.Schema = SCHEMA) -> Path:
    """A parquet file of these rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path, row_group_size=rows_per_group)
    return path


def steady_choices(n_users: int = 3, n_choices: int = 6) -> list[dict]:
    """Users who each choose between pictures nobody else saw, one user's rows spread over the file."""
    return [
        choice(user, 1000 * user + 2 * turn, 1000 * user + 2 * turn + 1, float(turn % 2), caption=f"prompt {turn}")
        for turn in range(n_choices)
        for user in range(1, n_users + 1)
    ]


def bytes_under(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
