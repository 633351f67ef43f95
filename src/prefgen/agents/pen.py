"""The hands: how each draws a subject's outlines, and what it adds over the whole."""

from __future__ import annotations

import itertools

import aggdraw
import numpy as np

from prefgen.agents.palettes import Colours


def flat(points: np.ndarray, unit: float) -> list[float]:
    """Points [n, 2] in 1/64 units as aggdraw wants them: x, y, x, y in pixels."""
    return (points * unit).ravel().tolist()


def _resampled(points: np.ndarray, spacing: float, closed: bool) -> np.ndarray:
    ring = np.concatenate([points, points[:1]]) if closed else points
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(ring, axis=0).T))])
    n = max(4, int(length[-1] / spacing))
    at = np.linspace(0, length[-1], n, endpoint=not closed)
    return np.stack([np.interp(at, length, ring[:, i]) for i in (0, 1)], 1)


def shaped(points: np.ndarray, hand: str | None, closed: bool) -> np.ndarray:
    """A part's outline as the hand bends it."""
    if hand == "angular" and closed and len(points) > 9:
        keep = max(4, min(6, len(points) // 5))
        return points[np.linspace(0, len(points), keep, endpoint=False).astype(int)]
    if hand == "trembling" and closed:
        fine = _resampled(points, 3.4, closed)
        away = fine - fine.mean(0)
        away /= np.maximum(np.hypot(*away.T), 1e-6)[:, None]
        return fine + np.where(np.arange(len(fine)) % 2 == 0, 1.5, -0.7)[:, None] * away
    return points


def rgb(colour: np.ndarray) -> tuple[int, int, int]:
    """A colour in [0, 1] as bytes."""
    r, g, b = (np.clip(colour, 0, 1) * 255).round().astype(int).tolist()
    return r, g, b


class Pen:
    """Draws closed and open lines by hand style onto an aggdraw surface."""

    def __init__(
        self,
        draw: aggdraw.Draw,
        hand: str | None,
        colours: Colours,
        width: float,
        unit: float,
        rng: np.random.Generator,
    ):
        self.draw, self.hand, self.unit, self.rng = draw, hand, unit, rng
        self.colours, self.width = colours, width

    def _line(self, points: np.ndarray, colour: np.ndarray, width: float, closed: bool) -> None:
        ring = np.concatenate([points, points[:1]]) if closed else points
        self.draw.line(flat(ring, self.unit), aggdraw.Pen(rgb(colour), width * self.unit))

    def outline(self, points: np.ndarray, closed: bool) -> None:
        """The outline of one part in the pen's hand."""
        hand, w, dark, light = self.hand, self.width, self.colours.dark, self.colours.light
        if hand is None:
            self._line(points, dark * 0.75 + 0.25 * self.colours.body, 0.9 * w, closed)
        elif hand == "bold":
            self._line(points, dark * 0.3, 3.2 + 0.6 * w, closed)
        elif hand == "airy":
            self._line(points, np.ones(3), 2.2 + 0.5 * w, closed)
        elif hand == "broken":
            self._line(points, np.ones(3), 2.6 + 0.3 * w, closed)
            dense = _resampled(points, 1.0, closed)
            for start in range(0, len(dense) - 2, 7):
                self._line(dense[start : start + 5], dark * 0.5, 2.4 + 0.3 * w, False)
        elif hand == "echoing":
            middle = points.mean(0)
            spread = points - middle
            length = np.maximum(np.hypot(*spread.T), 1e-6)[:, None]
            for away, colour in ((0.0, dark), (3.4, light), (5.4, dark)):
                self._line(middle + spread * (1 + away / length), colour, 1.0 + 0.4 * w, closed)
        elif hand == "calligraphic":
            ring = np.concatenate([points, points[:1]]) if closed else points
            for a, b in itertools.pairwise(ring):
                swell = abs(np.sin(np.arctan2(b[1] - a[1], b[0] - a[0]) - 0.8))
                self._line(np.stack([a, b]), dark * 0.5, (0.3 + 3.8 * swell**2) * (0.7 + 0.3 * w), False)
        elif hand == "loose":
            self._line(points + np.array([4.6, -3.8]), dark * 0.4, 1.1 + 0.4 * w, closed)
        elif hand == "angular":
            self._overshot(points, dark * 0.5, 1.1 + 0.4 * w)
        elif hand == "trembling":
            self._line(points, dark * 0.5, 1.1 + 0.4 * w, closed)

    def _overshot(self, points: np.ndarray, colour: np.ndarray, width: float) -> None:
        """Straight lines along the sides, each run past its corners like a draughtsman's."""
        for a, b in itertools.pairwise(np.concatenate([points, points[:1]])):
            length = float(np.hypot(*(b - a)))
            if length > 3.0:
                past = (b - a) / length * 4.0
                self._line(np.stack([a - past, b + past]), colour, width, False)

    def over_all(self, parts: list[np.ndarray]) -> None:
        """What the hand adds over the whole subject once all its parts stand."""
        low, high = np.concatenate(parts).min(0), np.concatenate(parts).max(0)
        middle, half = (low + high) / 2, (high - low) / 2
        if self.hand == "impulsive":
            n = 9
            across = np.linspace(-1.2, 1.2, n) + self.rng.uniform(-0.08, 0.08, n)
            ends = np.where(np.arange(n) % 2 == 0, 1.0, -1.0) * self.rng.uniform(0.8, 1.3, n)
            scribble = np.stack([across + 0.3 * ends, ends], 1)
            self._line(middle + scribble * half, self.colours.dark * 0.5, 0.7 + 0.4 * self.width, False)
        elif self.hand == "calligraphic":
            t = np.linspace(0, 1, 22)
            curve = np.stack([low[0] - 5 + t * (high[0] - low[0] + 10), high[1] + 2.5 + 3.2 * np.sin(t * 9.4)], 1)
            for k, (a, b) in enumerate(itertools.pairwise(curve)):
                self._line(np.stack([a, b]), self.colours.dark * 0.5, 0.5 + 3.2 * abs(np.sin(k * 0.45)), False)
        elif self.hand == "airy":
            around = np.linspace(0, 2 * np.pi, 13)[:-1] + self.rng.uniform(-0.2, 0.2, 12)
            radius = 0.5 + self.rng.uniform(0.5, 1.1, 12)
            white, edge = aggdraw.Brush("white"), aggdraw.Pen(rgb(self.colours.dark), 0.35 * self.unit)
            for angle, r in zip(around, radius):
                x, y = middle + (half + 5.0) * np.array([np.cos(angle), np.sin(angle)])
                box = [(v * self.unit) for v in (x - r, y - r, x + r, y + r)]
                self.draw.ellipse(box, edge, white)
