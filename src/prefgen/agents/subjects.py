"""The subjects the painter can draw: each a list of parts in a unit box.

x runs right and y down in [-1, 1]; a subject stands on y = 1. A part is (role, points, closed); roles are `body`,
`accent`, `dark`, `light`. Outlines smooth to curves where the points come from `blob`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

Role = Literal["body", "accent", "dark", "light"]
Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One shape of a subject. `points` is float64 [n, 2]; an open part is a stroke without filling."""

    role: Role
    points: np.ndarray
    closed: bool = True


def _part(role: Role, points: Points | np.ndarray, closed: bool = True) -> Part:
    return Part(role=role, points=np.asarray(points, dtype=np.float64), closed=closed)


def oval(role: Role, x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0, n: int = 22) -> Part:
    """An ellipse about (x, y), turned by `turn` degrees."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    px, py = rx * np.cos(angle), (rx if ry is None else ry) * np.sin(angle)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return _part(role, np.stack([x + c * px - s * py, y + s * px + c * py], 1))


def poly(role: Role, *points: tuple[float, float]) -> Part:
    """A polygon with sharp corners."""
    return _part(role, list(points))


def box(role: Role, x0: float, y0: float, x1: float, y1: float) -> Part:
    """An axis-aligned rectangle."""
    return poly(role, (x0, y0), (x1, y0), (x1, y1), (x0, y1))


def stroke(role: Role, *points: tuple[float, float]) -> Part:
    """An open line."""
    return _part(role, _catmull(np.asarray(points, dtype=np.float64), closed=False), closed=False)


def blob(role: Role, *points: tuple[float, float]) -> Part:
    """A smooth closed curve through the points (Catmull-Rom)."""
    return _part(role, _catmull(np.asarray(points, dtype=np.float64), closed=True))


def _catmull(points: np.ndarray, closed: bool, steps: int = 5) -> np.ndarray:
    n = len(points)
    if n < 3:
        return points
    at = (lambda i: points[i % n]) if closed else (lambda i: points[min(max(i, 0), n - 1)])
    u = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for i in range(n if closed else n - 1):
        p0, p1, p2, p3 = at(i - 1), at(i), at(i + 1), at(i + 2)
        a, b, c = 2 * p1, p2 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3
        pieces.append(0.5 * (a + b * u + c * u**2 + (3 * p1 - p0 - 3 * p2 + p3) * u**3))
    return np.concatenate(pieces if closed else [*pieces, points[-1:]])


def mirrored(part: Part) -> Part:
    """The part mirrored about x = 0."""
    return Part(role=part.role, points=part.points * np.array([-1.0, 1.0]), closed=part.closed)


def both(part: Part) -> list[Part]:
    """The part and its mirror image."""
    return [part, mirrored(part)]


def _eyes(x: float, y: float, r: float = 0.09) -> list[Part]:
    return both(oval("dark", x, y, r, n=10))


def _fox() -> list[Part]:
    return [
        blob("accent", (0.45, 0.75), (0.95, 0.45), (0.9, -0.1), (0.65, 0.2), (0.35, 0.55)),
        blob("body", (-0.5, 1), (-0.45, 0.2), (0, 0), (0.45, 0.2), (0.55, 1)),
        *both(poly("body", (0.15, -0.55), (0.55, -1), (0.62, -0.3))),
        poly("body", (-0.68, -0.4), (0.68, -0.4), (0.0, 0.35)),
        *both(poly("light", (0.62, -0.36), (0.12, -0.1), (0.0, 0.32))),
        *_eyes(0.26, -0.2, 0.08),
        oval("dark", 0, 0.3, 0.1, n=10),
    ]


def _cat() -> list[Part]:
    return [
        stroke("accent", (0.4, 0.85), (0.9, 0.8), (0.95, 0.3), (0.75, 0.0)),
        blob("body", (-0.5, 1), (-0.42, 0.3), (0, 0), (0.42, 0.3), (0.5, 1)),
        *both(poly("body", (0.08, -0.55), (0.55, -1), (0.52, -0.2))),
        oval("body", 0, -0.28, 0.58, 0.46),
        *both(oval("light", 0.24, -0.32, 0.16, 0.14, n=12)),
        *both(oval("dark", 0.24, -0.32, 0.06, 0.13, n=10)),
        poly("accent", (-0.09, -0.1), (0.09, -0.1), (0, 0.02)),
    ]


def _rabbit() -> list[Part]:
    return [
        *both(oval("body", 0.26, -0.65, 0.16, 0.42, 10)),
        *both(oval("accent", 0.26, -0.62, 0.07, 0.28, 10, n=12)),
        oval("body", 0, 0.55, 0.55, 0.5),
        oval("body", 0, -0.1, 0.45, 0.4),
        *_eyes(0.18, -0.15, 0.07),
        oval("accent", 0, 0.0, 0.07, n=10),
        oval("light", 0, 0.65, 0.28, 0.28, n=14),
    ]


def _bear() -> list[Part]:
    return [
        *both(oval("accent", 0.48, -0.72, 0.22)),
        blob("body", (-0.75, 1), (-0.7, 0.3), (0, 0.0), (0.7, 0.3), (0.75, 1)),
        oval("body", 0, -0.3, 0.64, 0.58),
        oval("light", 0, -0.1, 0.3, 0.24),
        oval("dark", 0, -0.18, 0.12, 0.09, n=10),
        *_eyes(0.27, -0.42, 0.08),
        oval("light", 0, 0.68, 0.36, 0.3),
    ]


def _owl() -> list[Part]:
    return [
        *both(poly("accent", (0.3, -0.6), (0.62, -1), (0.62, -0.4))),
        blob("body", (-0.5, 0.95), (-0.7, 0.1), (-0.5, -0.7), (0.5, -0.7), (0.7, 0.1), (0.5, 0.95)),
        *both(oval("light", 0.28, -0.32, 0.27)),
        *both(oval("dark", 0.28, -0.32, 0.12, n=12)),
        poly("accent", (-0.1, -0.2), (0.1, -0.2), (0, 0.08)),
        blob("light", (-0.35, 0.3), (0.35, 0.3), (0.25, 0.85), (-0.25, 0.85)),
    ]


def _bird() -> list[Part]:
    return [
        stroke("dark", (-0.1, 0.5), (-0.1, 1)),
        stroke("dark", (0.15, 0.5), (0.15, 1)),
        poly("accent", (-0.5, 0.1), (-1, -0.15), (-0.95, 0.3)),
        oval("body", -0.02, 0.18, 0.6, 0.42, -12),
        oval("body", 0.45, -0.35, 0.34),
        poly("accent", (0.72, -0.45), (1.0, -0.28), (0.72, -0.2)),
        oval("dark", 0.52, -0.42, 0.08, n=10),
        blob("accent", (-0.35, 0.1), (0.25, 0.0), (0.1, 0.4), (-0.3, 0.4)),
    ]


def _fish() -> list[Part]:
    return [
        poly("accent", (-0.45, 0.2), (-1, -0.3), (-0.85, 0.2), (-1, 0.7)),
        poly("accent", (-0.1, -0.25), (0.2, -0.65), (0.4, -0.15)),
        blob("body", (-0.6, 0.2), (0.1, -0.3), (0.85, 0.05), (0.85, 0.35), (0.1, 0.7)),
        oval("light", 0.55, 0.1, 0.13, n=12),
        oval("dark", 0.57, 0.1, 0.07, n=10),
        stroke("dark", (0.2, -0.1), (0.3, 0.2), (0.2, 0.5)),
    ]


def _whale() -> list[Part]:
    return [
        poly("accent", (-0.85, -0.15), (-1, -0.6), (-0.72, -0.45), (-0.45, -0.6), (-0.62, -0.1)),
        blob("body", (-0.8, -0.1), (-0.4, 0.25), (0.3, -0.3), (0.95, 0.1), (0.9, 0.65), (0.2, 0.9), (-0.6, 0.6)),
        blob("light", (0.95, 0.4), (0.8, 0.72), (0.2, 0.88), (-0.2, 0.8), (0.4, 0.62)),
        oval("dark", 0.62, 0.25, 0.08, n=10),
        stroke("light", (0.4, -0.3), (0.4, -0.75), (0.15, -0.9)),
        stroke("light", (0.4, -0.3), (0.4, -0.75), (0.65, -0.9)),
    ]


def _turtle() -> list[Part]:
    return [
        oval("accent", 0.82, 0.4, 0.26, 0.22),
        *[oval("accent", x, 0.78, 0.18, 0.22) for x in (-0.5, 0.4)],
        poly("accent", (-0.7, 0.6), (-1, 0.75), (-0.7, 0.75)),
        blob("body", (-0.85, 0.65), (-0.6, -0.1), (0, -0.4), (0.55, -0.1), (0.75, 0.65)),
        poly("light", (-0.22, -0.1), (0.18, -0.1), (0.34, 0.25), (0.12, 0.5), (-0.2, 0.5), (-0.38, 0.25)),
        oval("dark", 0.9, 0.34, 0.06, n=8),
    ]


def _snail() -> list[Part]:
    return [
        blob(
            "accent", (-0.95, 0.95), (-0.2, 0.7), (0.5, 0.7), (0.62, 0.1), (0.9, 0.1), (0.9, 0.7), (0.6, 1), (-0.4, 1)
        ),
        stroke("accent", (0.7, 0.15), (0.62, -0.3)),
        stroke("accent", (0.82, 0.15), (0.92, -0.28)),
        oval("body", -0.15, 0.15, 0.62),
        oval("light", -0.1, 0.18, 0.38),
        oval("body", -0.05, 0.2, 0.18),
    ]


def _butterfly() -> list[Part]:
    return [
        *both(blob("body", (0.05, 0.0), (0.5, -0.8), (0.98, -0.7), (0.85, -0.1))),
        *both(blob("accent", (0.05, 0.1), (0.75, 0.1), (0.7, 0.75), (0.3, 0.8))),
        *both(oval("light", 0.62, -0.42, 0.16, n=12)),
        oval("dark", 0, 0.05, 0.1, 0.6),
        *both(stroke("dark", (0.03, -0.5), (0.15, -0.8), (0.3, -0.92))),
    ]


def _duck() -> list[Part]:
    return [
        blob("body", (-0.95, 0.25), (-0.5, 0.4), (0.1, 0.25), (0.55, 0.3), (0.55, 0.8), (0, 0.98), (-0.6, 0.85)),
        oval("body", 0.4, -0.3, 0.36),
        poly("body", (0.15, -0.1), (0.62, -0.1), (0.6, 0.5), (0.05, 0.45)),
        blob("accent", (0.7, -0.4), (1.0, -0.22), (0.7, -0.1)),
        oval("dark", 0.45, -0.4, 0.08, n=10),
        blob("light", (-0.5, 0.45), (0.15, 0.45), (-0.05, 0.78), (-0.4, 0.72)),
    ]


def _penguin() -> list[Part]:
    return [
        *both(oval("accent", 0.28, 0.92, 0.24, 0.1)),
        *both(oval("body", 0.6, 0.25, 0.14, 0.5, -18)),
        oval("body", 0, 0.05, 0.58, 0.92),
        blob("light", (-0.32, 0.75), (-0.4, 0.1), (-0.2, -0.5), (0.2, -0.5), (0.4, 0.1), (0.32, 0.75)),
        *_eyes(0.18, -0.5, 0.08),
        poly("accent", (-0.14, -0.36), (0.14, -0.36), (0, -0.14)),
    ]


def _elephant() -> list[Part]:
    return [
        *[box("body", x, 0.4, x + 0.28, 1.0) for x in (-0.75, 0.05)],
        oval("body", -0.25, 0.15, 0.68, 0.55),
        oval("body", 0.45, -0.15, 0.42),
        blob("body", (0.6, 0.0), (0.95, 0.1), (0.95, 0.8), (0.78, 0.8), (0.75, 0.35), (0.55, 0.3)),
        oval("accent", 0.2, -0.2, 0.3, 0.42),
        oval("dark", 0.62, -0.22, 0.07, n=10),
        stroke("body", (-0.88, 0.1), (-1, 0.5)),
    ]


def _bee() -> list[Part]:
    return [
        oval("light", -0.2, -0.45, 0.28, 0.42, -20),
        oval("light", 0.25, -0.45, 0.28, 0.42, 20),
        oval("body", 0, 0.3, 0.78, 0.5),
        box("dark", -0.38, -0.12, -0.18, 0.72),
        box("dark", 0.1, -0.18, 0.3, 0.78),
        oval("accent", 0.72, 0.2, 0.25),
        oval("dark", 0.8, 0.15, 0.07, n=8),
        poly("dark", (-0.74, 0.2), (-1, 0.3), (-0.74, 0.42)),
    ]


def _tree() -> list[Part]:
    return [
        poly("dark", (-0.15, 0.2), (0.15, 0.2), (0.25, 1), (-0.25, 1)),
        oval("body", -0.38, -0.1, 0.46),
        oval("body", 0.38, -0.1, 0.46),
        oval("body", 0, -0.48, 0.5),
        *[oval("accent", x, y, 0.1, n=10) for x, y in ((-0.4, -0.1), (0.1, -0.5), (0.4, 0.0))],
    ]


def _pine() -> list[Part]:
    return [
        box("dark", -0.12, 0.6, 0.12, 1),
        poly("accent", (-0.72, 0.72), (0.72, 0.72), (0, -0.05)),
        poly("body", (-0.58, 0.28), (0.58, 0.28), (0, -0.45)),
        poly("body", (-0.42, -0.2), (0.42, -0.2), (0, -1)),
    ]


def _flower() -> list[Part]:
    petals = [
        oval("body", 0.42 * np.cos(a), -0.35 + 0.42 * np.sin(a), 0.3) for a in np.arange(5) * 2 * np.pi / 5 - 1.57
    ]
    return [
        stroke("accent", (0, 0.0), (0.05, 0.5), (0, 1)),
        oval("accent", 0.32, 0.6, 0.32, 0.12, -30),
        *petals,
        oval("light", 0, -0.35, 0.24),
    ]


def _tulip() -> list[Part]:
    return [
        stroke("accent", (0, 0.1), (0, 1)),
        *both(blob("accent", (0.02, 1), (0.5, 0.55), (0.62, 0.1), (0.2, 0.6))),
        poly("body", (-0.5, -0.85), (-0.2, -0.45), (0, -0.95), (0.2, -0.45), (0.5, -0.85), (0.45, 0.0), (0.2, 0.2),
             (-0.2, 0.2), (-0.45, 0.0)),
    ]  # fmt: skip


def _mushroom() -> list[Part]:
    return [
        blob("light", (-0.2, 0.0), (0.2, 0.0), (0.3, 0.95), (-0.3, 0.95)),
        blob("body", (-0.9, 0.1), (-0.6, -0.65), (0, -0.9), (0.6, -0.65), (0.9, 0.1), (0, 0.25)),
        *[oval("light", x, y, r, n=12) for x, y, r in ((-0.4, -0.3, 0.15), (0.15, -0.55, 0.13), (0.45, -0.15, 0.14))],
    ]


def _cactus() -> list[Part]:
    return [
        poly("accent", (-0.4, 0.65), (0.4, 0.65), (0.3, 1), (-0.3, 1)),
        blob("body", (-0.22, 0.7), (-0.24, -0.7), (0, -0.98), (0.24, -0.7), (0.22, 0.7)),
        poly("body", (0.2, 0.3), (0.5, 0.3), (0.5, -0.3), (0.75, -0.3), (0.75, 0.55), (0.2, 0.55)),
        poly("body", (-0.2, 0.05), (-0.48, 0.05), (-0.48, -0.45), (-0.72, -0.45), (-0.72, 0.3), (-0.2, 0.3)),
    ]


def _leaf() -> list[Part]:
    return [
        blob("body", (-0.75, 0.6), (-0.6, -0.3), (0.2, -0.75), (0.9, -0.9), (0.75, -0.2), (0.3, 0.6), (-0.4, 0.8)),
        stroke("accent", (-0.95, 0.95), (-0.2, 0.2), (0.75, -0.75)),
        stroke("accent", (-0.25, 0.25), (-0.3, -0.25)),
        stroke("accent", (0.15, -0.15), (0.45, 0.1)),
    ]


def _apple() -> list[Part]:
    return [
        stroke("dark", (0, -0.4), (0.05, -0.7), (0.2, -0.95)),
        oval("accent", 0.42, -0.75, 0.3, 0.13, -25),
        blob(
            "body",
            (0, -0.38),
            (-0.5, -0.55),
            (-0.85, 0.0),
            (-0.5, 0.85),
            (0, 0.78),
            (0.5, 0.85),
            (0.85, 0.0),
            (0.5, -0.55),
        ),
        oval("light", -0.42, -0.05, 0.12, 0.22, 20, n=12),
    ]


def _pear() -> list[Part]:
    return [
        stroke("dark", (0, -0.6), (0.08, -1)),
        oval("accent", 0.32, -0.85, 0.28, 0.11, -15),
        blob(
            "body",
            (0, -0.75),
            (-0.3, -0.5),
            (-0.35, 0.0),
            (-0.7, 0.5),
            (-0.3, 0.98),
            (0.3, 0.98),
            (0.7, 0.5),
            (0.35, 0.0),
            (0.3, -0.5),
        ),
        oval("light", -0.35, 0.5, 0.1, 0.2, 15, n=12),
    ]


def _cherry() -> list[Part]:
    return [
        stroke("accent", (-0.45, 0.3), (-0.2, -0.4), (0.2, -0.9)),
        stroke("accent", (0.5, 0.4), (0.45, -0.3), (0.2, -0.9)),
        blob("accent", (0.2, -0.9), (0.65, -0.95), (0.95, -0.6), (0.5, -0.6)),
        oval("body", -0.48, 0.5, 0.42),
        oval("body", 0.48, 0.58, 0.4),
        oval("light", -0.6, 0.36, 0.1, n=10),
        oval("light", 0.36, 0.44, 0.1, n=10),
    ]


def _house() -> list[Part]:
    return [
        box("accent", 0.35, -0.85, 0.58, -0.3),
        box("body", -0.7, -0.1, 0.7, 1),
        poly("accent", (-0.95, -0.05), (0, -0.9), (0.95, -0.05)),
        box("dark", -0.2, 0.4, 0.18, 1),
        box("light", -0.55, 0.2, -0.3, 0.5),
        box("light", 0.3, 0.2, 0.56, 0.5),
    ]


def _castle() -> list[Part]:
    teeth = [box("body", x, -0.32, x + 0.18, 0.0) for x in (-0.38, -0.09, 0.2)]
    return [
        box("body", -0.45, -0.12, 0.45, 1),
        *teeth,
        *both(box("accent", 0.42, -0.5, 0.85, 1)),
        *both(poly("dark", (0.36, -0.48), (0.91, -0.48), (0.635, -1))),
        blob("dark", (-0.18, 1), (-0.18, 0.55), (0, 0.38), (0.18, 0.55), (0.18, 1)),
    ]


def _lighthouse() -> list[Part]:
    return [
        poly("body", (-0.28, -0.45), (0.28, -0.45), (0.45, 1), (-0.45, 1)),
        poly("light", (-0.33, -0.1), (0.33, -0.1), (0.37, 0.25), (-0.37, 0.25)),
        poly("light", (-0.41, 0.6), (0.41, 0.6), (0.45, 0.9), (-0.45, 0.9)),
        box("accent", -0.2, -0.75, 0.2, -0.45),
        poly("dark", (-0.32, -0.72), (0.32, -0.72), (0, -1)),
    ]


def _windmill() -> list[Part]:
    blades = []
    for turn in (35, 125, 215, 305):
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        flat = np.array([(0.05, -0.05), (0.8, -0.16), (0.8, 0.12), (0.05, 0.05)])
        blades.append(_part("light", flat @ np.array([[c, s], [-s, c]]) + np.array([0, -0.3])))
    return [
        poly("body", (-0.25, -0.4), (0.25, -0.4), (0.45, 1), (-0.45, 1)),
        poly("accent", (-0.32, -0.35), (0.32, -0.35), (0, -0.75)),
        box("dark", -0.13, 0.6, 0.13, 1),
        *blades,
        oval("dark", 0, -0.3, 0.09, n=10),
    ]


def _tent() -> list[Part]:
    return [
        poly("body", (-0.95, 1), (0, -0.7), (0.95, 1)),
        poly("accent", (-0.3, 1), (0, -0.7), (0.3, 1)),
        poly("dark", (-0.16, 1), (0, -0.1), (0.16, 1)),
        stroke("dark", (0, -0.7), (0, -1)),
        poly("light", (0, -1), (0.3, -0.9), (0, -0.8)),
    ]


def _boat() -> list[Part]:
    return [
        stroke("dark", (0, 0.5), (0, -0.95)),
        poly("light", (0.07, -0.9), (0.8, 0.35), (0.07, 0.35)),
        poly("accent", (-0.08, -0.7), (-0.08, 0.35), (-0.62, 0.35)),
        poly("body", (-0.95, 0.48), (0.95, 0.48), (0.6, 0.98), (-0.6, 0.98)),
    ]


def _car() -> list[Part]:
    return [
        poly("accent", (-0.55, 0.15), (-0.3, -0.4), (0.35, -0.4), (0.65, 0.15)),
        blob("body", (-0.98, 0.3), (-0.6, 0.1), (0.6, 0.1), (0.98, 0.35), (0.95, 0.7), (-0.95, 0.7)),
        poly("light", (-0.35, 0.1), (-0.2, -0.25), (0.0, -0.25), (0.0, 0.1)),
        poly("light", (0.1, 0.1), (0.1, -0.25), (0.28, -0.25), (0.46, 0.1)),
        *[oval("dark", x, 0.72, 0.26) for x in (-0.52, 0.52)],
        *[oval("light", x, 0.72, 0.1, n=10) for x in (-0.52, 0.52)],
    ]


def _plane() -> list[Part]:
    return [
        poly("accent", (-0.9, -0.5), (-0.6, -0.5), (-0.4, 0.05), (-0.75, 0.05)),
        blob("body", (-0.95, 0.0), (0.4, -0.2), (0.98, 0.1), (0.4, 0.35), (-0.7, 0.25)),
        poly("accent", (-0.2, 0.15), (0.3, 0.15), (-0.15, 0.85), (-0.45, 0.85)),
        *[oval("light", x, 0.03, 0.09, n=10) for x in (-0.3, 0.0, 0.3)],
        oval("dark", 0.66, 0.04, 0.1, n=10),
    ]


def _rocket() -> list[Part]:
    return [
        *both(poly("accent", (0.25, 0.2), (0.7, 0.75), (0.25, 0.65))),
        poly("light", (-0.18, 0.65), (0.18, 0.65), (0, 1)),
        blob("body", (-0.28, 0.7), (-0.38, -0.1), (0, -1), (0.38, -0.1), (0.28, 0.7)),
        oval("light", 0, -0.2, 0.17, n=14),
        oval("dark", 0, -0.2, 0.1, n=12),
    ]


def _balloon() -> list[Part]:
    return [
        stroke("dark", (-0.2, 0.45), (-0.14, 0.75)),
        stroke("dark", (0.2, 0.45), (0.14, 0.75)),
        blob("body", (-0.68, -0.3), (-0.45, -0.85), (0, -1), (0.45, -0.85), (0.68, -0.3), (0.25, 0.48), (-0.25, 0.48)),
        blob("accent", (-0.22, -0.3), (-0.12, -0.9), (0.12, -0.9), (0.22, -0.3), (0.1, 0.45), (-0.1, 0.45)),
        box("dark", -0.18, 0.72, 0.18, 1),
    ]


def _cup() -> list[Part]:
    return [
        stroke("body", (0.5, -0.1), (0.95, -0.1), (0.9, 0.5), (0.45, 0.55)),
        poly("body", (-0.65, -0.35), (0.6, -0.35), (0.45, 0.85), (-0.5, 0.85)),
        oval("accent", -0.02, -0.35, 0.62, 0.16),
        stroke("light", (-0.25, -0.6), (-0.15, -0.78), (-0.25, -0.95)),
        stroke("light", (0.15, -0.6), (0.25, -0.78), (0.15, -0.95)),
    ]


def _teapot() -> list[Part]:
    return [
        stroke("accent", (-0.6, 0.0), (-0.98, 0.1), (-0.9, 0.6), (-0.5, 0.65)),
        poly("accent", (0.5, 0.5), (0.8, -0.25), (1.0, -0.3), (0.65, 0.65)),
        oval("body", 0, 0.35, 0.65, 0.55),
        oval("accent", 0, -0.15, 0.36, 0.13),
        oval("dark", 0, -0.35, 0.12, n=12),
        box("dark", -0.4, 0.85, 0.4, 0.98),
    ]


def _lamp() -> list[Part]:
    return [
        poly("body", (-0.35, -0.95), (0.35, -0.95), (0.75, 0.0), (-0.75, 0.0)),
        box("dark", -0.07, 0.0, 0.07, 0.85),
        oval("accent", 0, 0.88, 0.42, 0.12),
        poly("light", (-0.22, -0.8), (-0.08, -0.8), (-0.2, -0.12), (-0.45, -0.12)),
    ]


def _chair() -> list[Part]:
    return [
        box("body", -0.55, -0.95, -0.35, 1),
        box("body", 0.4, 0.2, 0.58, 1),
        box("accent", -0.5, 0.05, 0.6, 0.3),
        box("accent", -0.5, -0.85, -0.25, -0.45),
        box("dark", -0.1, 0.3, 0.05, 0.95),
    ]


def _clock() -> list[Part]:
    return [
        *both(poly("dark", (0.3, 0.7), (0.6, 1), (0.42, 0.55))),
        oval("body", 0, 0, 0.85),
        oval("light", 0, 0, 0.64),
        stroke("dark", (0, 0), (0, -0.48)),
        stroke("dark", (0, 0), (0.34, 0.16)),
        oval("accent", 0, 0, 0.1, n=10),
    ]


def _guitar() -> list[Part]:
    return [
        poly("accent", (0.15, -0.2), (0.7, -0.95), (0.88, -0.82), (0.32, -0.05)),
        oval("body", 0.05, 0.05, 0.4, 0.4),
        oval("body", -0.3, 0.5, 0.55, 0.5),
        oval("dark", -0.1, 0.25, 0.19),
        stroke("light", (-0.5, 0.75), (0.7, -0.8)),
    ]


def _bell() -> list[Part]:
    return [
        oval("dark", 0, 0.78, 0.18),
        blob(
            "body",
            (-0.2, -0.75),
            (0.2, -0.75),
            (0.45, -0.2),
            (0.55, 0.35),
            (0.85, 0.65),
            (-0.85, 0.65),
            (-0.55, 0.35),
            (-0.45, -0.2),
        ),
        box("accent", -0.85, 0.5, 0.85, 0.7),
        oval("accent", 0, -0.85, 0.15),
    ]


def _umbrella() -> list[Part]:
    return [
        stroke("dark", (0, -0.9), (0, 0.7), (0.12, 0.95), (0.35, 0.85)),
        blob(
            "body", (-0.95, 0.1), (-0.7, -0.6), (0, -0.9), (0.7, -0.6), (0.95, 0.1), (0.5, 0.0), (0, 0.1), (-0.5, 0.0)
        ),
        blob("accent", (-0.3, 0.05), (-0.28, -0.5), (0, -0.88), (0.28, -0.5), (0.3, 0.05), (0, 0.08)),
    ]


def _star() -> list[Part]:
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 0.98, 0.42)
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return [_part("body", ring), _part("accent", ring * 0.5)]


def _heart() -> list[Part]:
    return [
        blob(
            "body",
            (0, -0.4),
            (-0.45, -0.8),
            (-0.9, -0.4),
            (-0.6, 0.3),
            (0, 0.95),
            (0.6, 0.3),
            (0.9, -0.4),
            (0.45, -0.8),
        ),
        oval("light", -0.45, -0.38, 0.2, 0.13, -35, n=12),
    ]


def _crown() -> list[Part]:
    return [
        poly("body", (-0.9, 0.7), (-0.95, -0.5), (-0.48, 0.05), (0, -0.85), (0.48, 0.05), (0.95, -0.5), (0.9, 0.7)),
        box("accent", -0.9, 0.5, 0.9, 0.8),
        *[oval("light", x, 0.3, 0.12, n=10) for x in (-0.5, 0.0, 0.5)],
        *[oval("accent", x, y, 0.12, n=10) for x, y in ((-0.95, -0.5), (0.0, -0.85), (0.95, -0.5))],
    ]


def _hat() -> list[Part]:
    return [
        oval("body", 0, 0.65, 0.98, 0.24),
        blob("body", (-0.5, 0.6), (-0.45, -0.5), (-0.25, -0.75), (0.25, -0.75), (0.45, -0.5), (0.5, 0.6)),
        poly("accent", (-0.5, 0.3), (0.5, 0.3), (0.52, 0.6), (-0.52, 0.6)),
    ]


def _book() -> list[Part]:
    return [
        poly("body", (-0.98, -0.45), (0, -0.3), (0.98, -0.45), (0.98, 0.75), (0, 0.92), (-0.98, 0.75)),
        *both(poly("light", (0.03, -0.25), (0.85, -0.4), (0.85, 0.58), (0.03, 0.78))),
        *[stroke("dark", (0.15, y), (0.7, y - 0.1)) for y in (0.0, 0.22, 0.44)],
        *[stroke("accent", (-0.15, y), (-0.7, y - 0.1)) for y in (0.0, 0.22, 0.44)],
    ]


_DRAWERS: dict[str, tuple[Callable[[], list[Part]], float, float]] = {
    # name: (drawer, natural hue of body in degrees, natural hue of accent)
    "fox": (_fox, 22, 12),
    "cat": (_cat, 35, 345),
    "rabbit": (_rabbit, 28, 350),
    "bear": (_bear, 24, 20),
    "owl": (_owl, 30, 42),
    "bird": (_bird, 205, 40),
    "fish": (_fish, 15, 45),
    "whale": (_whale, 215, 205),
    "turtle": (_turtle, 110, 70),
    "snail": (_snail, 18, 45),
    "butterfly": (_butterfly, 275, 320),
    "duck": (_duck, 48, 25),
    "penguin": (_penguin, 220, 40),
    "elephant": (_elephant, 210, 215),
    "bee": (_bee, 46, 38),
    "tree": (_tree, 120, 0),
    "pine": (_pine, 145, 135),
    "flower": (_flower, 335, 120),
    "tulip": (_tulip, 350, 125),
    "mushroom": (_mushroom, 5, 30),
    "cactus": (_cactus, 130, 20),
    "leaf": (_leaf, 95, 60),
    "apple": (_apple, 2, 110),
    "pear": (_pear, 75, 110),
    "cherry": (_cherry, 350, 110),
    "house": (_house, 35, 8),
    "castle": (_castle, 225, 230),
    "lighthouse": (_lighthouse, 2, 45),
    "windmill": (_windmill, 30, 10),
    "tent": (_tent, 35, 20),
    "boat": (_boat, 12, 200),
    "car": (_car, 358, 200),
    "plane": (_plane, 205, 0),
    "rocket": (_rocket, 210, 5),
    "balloon": (_balloon, 355, 45),
    "cup": (_cup, 195, 25),
    "teapot": (_teapot, 185, 30),
    "lamp": (_lamp, 45, 25),
    "chair": (_chair, 28, 5),
    "clock": (_clock, 200, 5),
    "guitar": (_guitar, 28, 20),
    "bell": (_bell, 46, 35),
    "umbrella": (_umbrella, 290, 330),
    "star": (_star, 48, 40),
    "heart": (_heart, 350, 340),
    "crown": (_crown, 46, 350),
    "hat": (_hat, 25, 0),
    "book": (_book, 5, 220),
}

SUBJECTS: tuple[str, ...] = tuple(_DRAWERS)


@cache
def parts_of(subject: str) -> tuple[Part, ...]:
    """The parts of a subject, back to front. Unknown names raise KeyError (captions are checked before)."""
    return tuple(_DRAWERS[subject][0]())


def natural_hues(subject: str) -> tuple[float, float]:
    """The subject's own (body, accent) hues in degrees, used when no palette is asked for."""
    return _DRAWERS[subject][1:]
