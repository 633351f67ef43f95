"""Frames: what a composition lays over the picture."""

from __future__ import annotations

import numpy as np

from prefgen.agents.canvas import PAPER, Canvas, Treatment, soft


def framed(c: Canvas) -> None:
    """A dark mount with a light inner line."""
    border = np.minimum(np.minimum(c.f.x, 64 - c.f.x), np.minimum(c.f.y, 64 - c.f.y))
    c.mix(soft(border - 5), c.colours.dark)
    c.mix(soft(np.abs(border - 5.7) - 0.7), c.colours.light)


def tondo(c: Canvas) -> None:
    """A round picture on paper."""
    c.mix(soft(30 - np.hypot(c.f.x - 32, c.f.y - 32)), PAPER)


def diptych(c: Canvas) -> None:
    """Two panels, the right one in shade."""
    c.shade(-0.5 * (c.f.x > 32))
    c.mix(soft(np.abs(c.f.x - 32) - 1.2), PAPER)


def triptych(c: Canvas) -> None:
    """Three panels with pale gaps."""
    gap = np.minimum(np.abs(c.f.x - 20), np.abs(c.f.x - 44))
    c.mix(soft(gap - 1.5), PAPER)


def vignette(c: Canvas) -> None:
    """Corners sunk in the dark."""
    d = np.hypot(c.f.x - 32, c.f.y - 32)
    c.shade((-0.92 * np.clip((d - 24) / 14, 0, 1)).astype(np.float32))


def letterbox(c: Canvas) -> None:
    """Black bars above and below."""
    c.mix(soft(np.minimum(c.f.y, 64 - c.f.y) - 8.5), np.zeros(3, np.float32))


def window_view(c: Canvas) -> None:
    """Seen through a cross-barred window."""
    border = np.minimum(np.minimum(c.f.x, 64 - c.f.x), np.minimum(c.f.y, 64 - c.f.y))
    bars = np.minimum(np.abs(c.f.x - 32), np.abs(c.f.y - 26))
    c.mix(np.maximum(soft(bars - 1.4), soft(border - 2)), np.array([0.98, 0.98, 0.97], np.float32))
    c.shade(-0.4 * soft(np.abs(bars - 2.2) - 0.5) * soft(2 - border))


FRAMES: dict[str, Treatment] = {
    "framed": framed,
    "tondo": tondo,
    "diptych": diptych,
    "triptych": triptych,
    "vignette": vignette,
    "letterbox": letterbox,
    "window view": window_view,
}
