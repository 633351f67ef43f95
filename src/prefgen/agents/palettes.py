"""Named palettes: six colours each, for sky, ground, body, accent, dark and light."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Colours:
    """float32 [3] RGB colours in [0, 1] by role."""

    sky: np.ndarray
    ground: np.ndarray
    body: np.ndarray
    accent: np.ndarray
    dark: np.ndarray
    light: np.ndarray


def hsv(hue_deg: float, saturation: float, value: float) -> np.ndarray:
    """RGB in [0, 1] from hue in degrees, saturation and value."""
    return np.array(colorsys.hsv_to_rgb((hue_deg % 360) / 360, saturation, value), dtype=np.float32)


def _one_hue(hue: float, saturation: float = 0.8, value: float = 0.8, spread: float = 14.0) -> Colours:
    return Colours(
        sky=hsv(hue, 0.22 * saturation + 0.06, 0.97),
        ground=hsv(hue + spread, 0.45 * saturation, 0.86 * value + 0.1),
        body=hsv(hue, saturation, value),
        accent=hsv(hue - spread, saturation * 0.9, value * 0.68),
        dark=hsv(hue, 0.75 * saturation + 0.1, 0.26),
        light=hsv(hue + spread, 0.14, 0.98),
    )


def _hex(*codes: str) -> Colours:
    rgb = [np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], dtype=np.float32) / 255 for code in codes]
    return Colours(sky=rgb[0], ground=rgb[1], body=rgb[2], accent=rgb[3], dark=rgb[4], light=rgb[5])


PALETTES: dict[str, Colours] = {
    "crimson": _one_hue(354, 0.95, 0.78, 8),
    "tangerine": _one_hue(24, 0.95, 0.97, 7),
    "gold": _one_hue(48, 0.95, 0.93, 5),
    "olive": _hex("d9dcb4", "a9ad6c", "767c2c", "54591d", "2a2d0c", "eef0d6"),
    "emerald": _one_hue(140, 0.9, 0.66, 12),
    "teal": _one_hue(178, 0.95, 0.6, 8),
    "azure": _one_hue(211, 0.88, 0.9, 8),
    "violet": _one_hue(270, 0.75, 0.74, 8),
    "rose": _hex("ffeaf1", "fbc7d9", "f487ae", "d75f8f", "7b2549", "fff7fa"),
    "sepia": _hex("ecdcbf", "cdae82", "96683a", "6f4723", "38210d", "f8efdc"),
    "graphite": _hex("e2e2e3", "b6b6b8", "777779", "505052", "1f1f21", "f7f7f8"),
    "neon": _hex("120a2e", "2a0f55", "ff2fb2", "18f0e4", "05030f", "f6ff3d"),
    "primary colours": _hex("fbf7ea", "f6c915", "da291c", "1f4aa8", "16161a", "ffffff"),
    "midnight": _hex("141d45", "0d1433", "5c78c9", "f0d272", "060917", "e9ecfb"),
}


def natural(body_hue: float, accent_hue: float) -> Colours:
    """The plain painting: a subject in its own colours on off-white."""
    return Colours(
        sky=np.array([0.93, 0.94, 0.93], dtype=np.float32),
        ground=np.array([0.80, 0.79, 0.73], dtype=np.float32),
        body=hsv(body_hue, 0.62, 0.80),
        accent=hsv(accent_hue, 0.6, 0.62),
        dark=np.array([0.16, 0.15, 0.17], dtype=np.float32),
        light=np.array([0.98, 0.97, 0.93], dtype=np.float32),
    )
