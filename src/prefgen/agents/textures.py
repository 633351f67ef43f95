"""Textures: over everything, in value."""

from __future__ import annotations

import numpy as np

from prefgen.agents.canvas import Canvas, Treatment, soft
from prefgen.agents.fields import N_BANK, displaced


def grainy(c: Canvas) -> None:
    """Coarse grain: dark and light grit."""
    grit = c.bank(c.f.fine) + 0.5 * c.bank(c.f.fine)
    c.shade((0.62 * np.clip(grit * 3 - 1.0, 0, 1) - 0.62 * np.clip(-grit * 3 - 1.0, 0, 1)).astype(np.float32))


def woven(c: Canvas) -> None:
    """A canvas weave."""
    over = (np.floor(c.f.x / 2.5) + np.floor(c.f.y / 2.5)) % 2
    thread = np.where(over > 0, np.sin(c.f.y * 2 * np.pi / 2.5), np.sin(c.f.x * 2 * np.pi / 2.5))
    c.shade((np.where(over > 0, 0.18, -0.24) + 0.05 * thread).astype(np.float32))


def hatched(c: Canvas) -> None:
    """Dark diagonal hatching."""
    c.shade(-0.52 * soft(np.abs((c.f.x + c.f.y) % 5.0 - 2.5) - 0.75))


def cracked(c: Canvas) -> None:
    """A net of dark cracks."""
    c.shade(-0.62 * soft(c.f.edges_small[c.rng.integers(N_BANK)] - 0.75, 0.9))


def speckled(c: Canvas) -> None:
    """Drops of dark and light spatter."""
    for i in range(44):
        x, y, r = *c.rng.uniform(0, 64, 2), c.rng.uniform(0.9, 2.3)
        lo_x, hi_x = int(max(0, (x - 4) * c.f.unit)), int((x + 4) * c.f.unit) + 1
        lo_y, hi_y = int(max(0, (y - 4) * c.f.unit)), int((y + 4) * c.f.unit) + 1
        spot = np.s_[lo_y:hi_y, lo_x:hi_x]
        drop = soft(np.hypot(c.f.x[spot] - x, c.f.y[spot] - y) - r, 0.8)[..., None]
        c.image[spot] = c.image[spot] * (1 - drop) + drop * (0.08 if i % 3 else 0.97)


def glossy(c: Canvas) -> None:
    """Slanting streaks of reflected light."""
    u = c.f.x + c.f.y * 0.55 + c.rng.uniform(-6, 6)
    c.shade(
        0.62 * (soft(np.abs(u - 26) - 3.2, 2.5) + soft(np.abs(u - 36) - 1.3, 1.6) + soft(np.abs(u - 70) - 3.2, 2.5))
    )


def rippled(c: Canvas) -> None:
    """The picture seen through rippling water."""
    phase = c.rng.uniform(0, 6.28)
    wave = np.sin(c.f.y * 2 * np.pi / 8 + phase)
    c.image = displaced(c.image, 1.7 * wave * c.f.unit, 0.0)
    c.shade((0.17 * np.cos(c.f.y * 2 * np.pi / 8 + phase)).astype(np.float32))


def marbled(c: Canvas) -> None:
    """Bright and dark veins."""
    v = c.f.x * 0.1 + c.f.y * 0.05 + 1.7 * c.bank(c.f.smooth)
    vein = np.abs(np.sin(v * np.pi))
    c.shade((0.75 * soft(vein - 0.16, 0.22) - 0.3 * vein).astype(np.float32))


def perforated(c: Canvas) -> None:
    """A regular grid of dark pin holes."""
    d = np.hypot(c.f.x % 5.33 - 2.66, c.f.y % 5.33 - 2.66)
    c.shade(-0.85 * soft(d - 1.0, 0.8))


def crumpled(c: Canvas) -> None:
    """Creased paper: long folds between light and shade."""
    pick = c.rng.integers(N_BANK)
    tilt = c.rng.uniform(-1, 1, (int(c.f.cells_big[pick].max()) + 1, 2))
    cell = c.f.cells_big[pick]
    slope = (tilt[cell, 0] * (c.f.x % 16 - 8) + tilt[cell, 1] * (c.f.y % 16 - 8)) / 12
    c.shade(np.clip(slope * 0.5, -0.32, 0.32).astype(np.float32))
    c.shade(0.5 * soft(c.f.edges_big[pick] - 0.7, 0.8))


def weathered(c: Canvas) -> None:
    """Paint flaked off in patches, dark at the rim, paper showing."""
    patch = c.bank(c.f.smooth) + 0.45 * c.bank(c.f.fine)
    c.mix(np.clip((patch - 0.12) * 9, 0, 1).astype(np.float32), np.array([0.24, 0.19, 0.15], np.float32), 0.85)
    c.mix(np.clip((patch - 0.32) * 9, 0, 1).astype(np.float32), np.array([0.95, 0.93, 0.88], np.float32), 0.97)


TEXTURES: dict[str, Treatment] = {
    "grainy": grainy,
    "woven": woven,
    "hatched": hatched,
    "cracked": cracked,
    "speckled": speckled,
    "glossy": glossy,
    "rippled": rippled,
    "marbled": marbled,
    "perforated": perforated,
    "crumpled": crumpled,
    "weathered": weathered,
}
