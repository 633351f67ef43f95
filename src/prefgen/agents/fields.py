"""Coordinate and noise fields shared by the painter's treatments, made once per picture side.

Lengths are in units of 1/64 of the picture's side, so a picture of any size shows the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

N_BANK = 12
"""Noise patterns kept per kind; the painter's seed picks one and rolls it."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """`x`, `y`: float32 [side, side] pixel centres in 1/64 units; `unit`: pixels per 1/64."""

    side_px: int
    unit: float
    x: np.ndarray
    y: np.ndarray
    smooth: np.ndarray  # [bank, side, side] low-frequency noise in [-1, 1], about 16 units across
    fine: np.ndarray  # [bank, side, side] noise about 2.5 units across in [-1, 1]
    cells_small: np.ndarray  # [bank, side, side] index of the nearest of about 49 sites
    edges_small: np.ndarray  # [bank, side, side] distance to the border between two cells, 1/64 units
    cells_big: np.ndarray  # the same with about 14 sites
    edges_big: np.ndarray


def _noise(rng: np.random.Generator, side: int, cell: float) -> np.ndarray:
    n = max(2, round(64 / cell))
    grid = rng.standard_normal((n, n))
    t = (np.arange(side) + 0.5) / side * n
    i = np.floor(t).astype(int)
    f = t - i
    f = f * f * (3 - 2 * f)
    a, b = grid[i % n], grid[(i + 1) % n]
    rows = a + (b - a) * f[:, None]
    out = rows[:, i % n] + (rows[:, (i + 1) % n] - rows[:, i % n]) * f[None, :]
    return (out / np.abs(out).max()).astype(np.float32)


def _cells(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, per_side: int) -> tuple[np.ndarray, np.ndarray]:
    step = 64 / per_side
    gx, gy = np.meshgrid(np.arange(-1, per_side + 1), np.arange(-1, per_side + 1))
    sites = np.stack([gx.ravel(), gy.ravel()], 1) * step + step * rng.uniform(0.1, 0.9, (gx.size, 2))
    d = np.sqrt((x[..., None] - sites[:, 0]) ** 2 + (y[..., None] - sites[:, 1]) ** 2)
    order = np.argpartition(d, 1, axis=-1)[..., :2]
    two = np.take_along_axis(d, order, -1)
    first = two.argmin(-1)
    index = np.take_along_axis(order, first[..., None], -1)[..., 0]
    return index.astype(np.int32), np.abs(two[..., 0] - two[..., 1]).astype(np.float32)


@lru_cache(maxsize=4)
def fields(side_px: int) -> Fields:
    """The fields for pictures of `side_px` pixels; the same on every machine (fixed seed)."""
    unit = side_px / 64
    axis = ((np.arange(side_px) + 0.5) / unit).astype(np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    rng = np.random.default_rng(20251206)
    small = [_cells(rng, x, y, 7) for _ in range(N_BANK)]
    big = [_cells(rng, x, y, 4) for _ in range(N_BANK)]
    return Fields(
        side_px=side_px,
        unit=unit,
        x=x,
        y=y,
        smooth=np.stack([_noise(rng, side_px, 13) for _ in range(N_BANK)]),
        fine=np.stack([_noise(rng, side_px, 2.6) for _ in range(N_BANK)]),
        cells_small=np.stack([c[0] for c in small]),
        edges_small=np.stack([c[1] for c in small]),
        cells_big=np.stack([c[0] for c in big]),
        edges_big=np.stack([c[1] for c in big]),
    )


def blurred(image: np.ndarray, radius_px: int) -> np.ndarray:
    """Box blur, applied twice, along both axes; works on [h, w] and [h, w, c]; edges are repeated."""
    if radius_px < 1:
        return image
    width = 2 * radius_px + 1
    for _ in range(2):
        for axis in (0, 1):
            pad = [(0, 0)] * image.ndim
            pad[axis] = (radius_px + 1, radius_px)
            total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.float32)
            n = image.shape[axis]
            high = np.take(total, range(width, width + n), axis=axis)
            image = (high - np.take(total, range(n), axis=axis)) / width
    return image


def displaced(image: np.ndarray, dx_px: np.ndarray | float, dy_px: np.ndarray | float) -> np.ndarray:
    """The image sampled at (x + dx, y + dy), nearest pixel, edges repeated."""
    side = image.shape[0]
    rows, cols = np.indices((side, side))
    r = np.clip(np.rint(rows + dy_px).astype(int), 0, side - 1)
    c = np.clip(np.rint(cols + dx_px).astype(int), 0, side - 1)
    return image[r, c]
