"""The eight looks that no text names: only a picture history can show that a person likes them."""

from __future__ import annotations

import numpy as np

from prefgen.agents.canvas import Canvas


def before_subject(c: Canvas, look: str | None) -> None:
    """Looks that belong to the sky: a corner sun, a dark-topped sky, a flock."""
    if look == "look-1":
        d = np.hypot(c.f.x - 64, c.f.y)
        c.mix(np.clip(17 - d, 0, 1) * c.sky, np.array([1.0, 0.86, 0.35], np.float32))
        c.mix(np.clip(1.2 - np.abs(d - 20), 0, 1) * c.sky, np.array([1.0, 0.86, 0.35], np.float32), 0.8)
    elif look == "look-5":
        c.shade((-0.75 * np.clip(1 - c.f.y / 26, 0, 1)).astype(np.float32) * c.sky)
    elif look == "look-6":
        for x, y in ((10, 10), (20, 6), (31, 11), (44, 7), (55, 12)):
            wing = c.f.y - y - 1.6 * np.abs(np.abs(c.f.x - x) - 2.4) / 2.4
            c.mix(np.clip(1.2 - np.abs(wing), 0, 1) * (np.abs(c.f.x - x) < 5) * c.sky, c.colours.dark)


def after_subject(c: Canvas, look: str | None) -> None:
    """Looks that lie over everything: a side ribbon, sparkles."""
    if look == "look-2":
        complement = 1 - c.colours.body * 0.9
        c.mix(np.clip(2.6 - np.abs(c.f.x - 6), 0, 1), complement.astype(np.float32))
    elif look == "look-4":
        for x, y in ((9, 30), (18, 14), (50, 19), (57, 40), (36, 6)):
            dx, dy = np.abs(c.f.x - x - c.rng.uniform(-1, 1)), np.abs(c.f.y - y)
            star = np.clip((2.55 - np.sqrt(dx) - np.sqrt(dy)) * 2.2, 0, 1)
            c.mix(np.clip((3.0 - np.sqrt(dx) - np.sqrt(dy)) * 2.2, 0, 1), c.colours.dark, 0.7)
            c.mix(star, np.array([1.0, 0.9, 0.3], np.float32))
