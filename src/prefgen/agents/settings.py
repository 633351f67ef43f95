"""Where a scene plays: silhouettes on the horizon and what lies on the ground."""

from __future__ import annotations

import numpy as np

from prefgen.agents.canvas import Canvas
from prefgen.agents.palettes import hsv


def _tint(c: Canvas, hue: float, saturation: float = 0.4, value: float = 0.72) -> np.ndarray:
    """A setting's own colour drawn half-way to the palette's ground, so that palettes stay whole."""
    return (0.4 * hsv(hue, saturation, value) + 0.6 * (0.55 * c.colours.ground + 0.45 * c.colours.accent)).astype(
        np.float32
    )


def _edge(distance: np.ndarray) -> np.ndarray:
    return np.clip(0.5 - distance, 0, 1).astype(np.float32)


def draw_setting(c: Canvas, setting: str | None, horizon: np.ndarray) -> None:
    """Paints the setting between sky and subject. `horizon` is float32 [side, side], the height of the horizon."""
    x, up = c.f.x, horizon - c.f.y
    if setting == "by a lake":
        water = _edge(np.abs(up + 5.5) - 4.2)
        c.mix(water, _tint(c, 205, 0.6, 0.85))
        c.mix(water * (np.sin(x * 0.8 + np.floor(up / 1.7) * 2.1) > 0.55), c.colours.light, 0.8)
    elif setting == "in a forest":
        for i, trunk in enumerate((4, 13, 22, 43, 52, 60)):
            top = 15 + 4 * (i % 3)
            c.mix(
                _edge(np.abs(x - trunk) - 3.4 * np.clip(1 - up / top, 0, 1)) * (up > 0) * (up < top),
                _tint(c, 140, 0.6, 0.45),
            )
    elif setting == "in the city":
        heights = np.array([9, 15, 7, 18, 11, 6, 13, 8, 16, 10, 14])
        tower = heights[np.clip((x / 6).astype(int), 0, 10)]
        wall = (up > -0.5) * (up < tower)
        c.mix(wall, _tint(c, 230, 0.2, 0.5))
        c.mix(wall * ((x % 3) > 1.6) * ((up % 3.5) > 2.1) * (up < tower - 1), c.colours.light, 0.8)
    elif setting == "in the mountains":
        ridge = np.maximum(19 - 1.15 * np.abs(x - 14), 23 - 1.05 * np.abs(x - 48))
        c.mix(_edge((up * -1) * 1.0) * _edge(up - ridge), _tint(c, 250, 0.22, 0.6))
        c.mix(
            _edge(up - ridge) * _edge(ridge - 6 - 1.4 * np.sin(x * 1.3) - up - (ridge < 6) * 50) * (up > 9),
            c.colours.light,
        )
    elif setting == "in the desert":
        for shift, rise in ((0.0, 5.5), (2.1, 3.2)):
            dune = rise * (1 + np.sin(x * 0.16 + shift * 2 + c.rng.uniform(0, 1)))
            c.mix(
                _edge(up - dune + 5 * shift) * (up > -3 * shift - 0.5),
                _tint(c, 40 - 8 * shift, 0.65, 0.95 - 0.1 * shift),
            )
        c.mix(_edge(np.hypot(x - 12, c.f.y - 10) - 5) * c.sky, _tint(c, 30, 0.8, 1.0))
    elif setting == "in a meadow":
        blades = (np.abs((x * 1.0 + 1.1 * np.sin(c.f.y * 0.8)) % 4 - 2) < 0.75) * (up < 1.5) * (up > -22)
        c.mix(blades.astype(np.float32) * ((c.f.y % 7) < 5), _tint(c, 110, 0.75, 0.55))
        for i in range(9):
            fx, fy = (i * 7.3 + 3) % 64, 3.5 + (i * 5) % 14
            c.mix(_edge(np.hypot(x - fx, up + fy) - 1.5), c.colours.light)
    elif setting == "in the snow":
        c.mix(_edge(up + 0.5), np.array([0.97, 0.98, 1.0], np.float32), 0.8)
        for fx, fy in c.rng.uniform(0, 64, (16, 2)):
            c.mix(_edge(np.hypot(x - fx, c.f.y - fy) - 1.0), np.ones(3, np.float32))
    elif setting == "in a room":
        c.mix(_edge(np.abs(up - 0.9) - 0.9), _tint(c, 25, 0.5, 0.45))
        pane = np.maximum(np.abs(x - 52) - 7, np.abs(c.f.y - 14) - 8)
        c.mix(_edge(pane), _tint(c, 200, 0.35, 0.95))
        c.mix(_edge(np.minimum(np.abs(x - 52), np.abs(c.f.y - 14)) - 0.7) * _edge(pane), c.colours.dark, 0.8)
        c.mix(_edge(np.abs(pane) - 0.8), c.colours.dark, 0.8)
