"""Movements: motifs in the sky, and a few that remake the whole picture."""

from __future__ import annotations

import numpy as np

from prefgen.agents.canvas import Canvas, Treatment, soft
from prefgen.agents.fields import N_BANK, displaced


def pop_art(c: Canvas) -> None:
    """Large halftone dots."""
    u, v = (c.f.x + c.f.y) * 0.7071, (c.f.x - c.f.y) * 0.7071
    d = np.hypot((u % 7) - 3.5, (v % 7) - 3.5)
    c.mix(soft(d - 2.2) * c.sky, c.colours.accent, 0.85)


def art_deco(c: Canvas) -> None:
    """A sunburst from the foot of the picture."""
    angle = np.arctan2(66 - c.f.y, c.f.x - 32)
    rays = soft(-np.sin(angle * 15) * 2)
    c.mix(rays * c.sky, c.colours.accent, 0.6)


def op_art(c: Canvas) -> None:
    """Concentric rings in full contrast."""
    d = np.hypot(c.f.x - c.centre[0], c.f.y - c.centre[1] + 4)
    c.mix(soft(-np.sin(d * 2 * np.pi / 7.5) * 2) * c.sky, c.colours.dark, 0.95)


def cubism(c: Canvas) -> None:
    """Big facets, each shifted and shaded on its own."""
    pick = c.rng.integers(N_BANK)
    cells, edges = c.f.cells_big[pick], c.f.edges_big[pick]
    n = int(cells.max()) + 1
    shift = c.rng.uniform(-3.5, 3.5, (n, 2)) * c.f.unit
    c.image = displaced(c.image, shift[cells, 0], shift[cells, 1])
    c.shade((c.rng.permutation(np.linspace(-0.34, 0.3, n))[cells]).astype(np.float32))
    c.mix(soft(edges - 0.7), c.colours.dark, 0.55)


def impressionism(c: Canvas) -> None:
    """Slanting dabs: each takes the colour of a place nearby, a lightness of its own, and turns warm or cool."""
    w, h = 5.5, 2.8
    v = c.f.y + 0.6 * c.f.x
    row = np.floor(v / h)
    col = np.floor((c.f.x - 0.6 * c.f.y + (row % 2) * w / 2) / w)
    index = (row * 31 + col).astype(int) % 997
    dx, dy = c.rng.uniform(-2.0, 2.0, (2, 997)) * c.f.unit
    c.image = displaced(c.image, dx[index], dy[index])
    c.shade(c.rng.uniform(-0.22, 0.28, 997).astype(np.float32)[index])
    warm = np.where(c.rng.random(997) < 0.5, -1.0, 1.0).astype(np.float32)[index]
    c.image = c.image + 0.16 * warm[..., None] * np.array([1.0, 0.1, -1.0], np.float32)


def pointillism(c: Canvas) -> None:
    """The whole picture in round dots on light ground."""
    step = 4.6
    row = np.floor(c.f.y / step)
    x = c.f.x + (row % 2) * step / 2
    d = np.hypot(x % step - step / 2, c.f.y % step - step / 2)
    c.mix(1 - soft(d - 1.95, 0.9), c.colours.light, 0.8)


def expressionism(c: Canvas) -> None:
    """A sky of thick waving bands."""
    phase = c.rng.uniform(0, 6.28)
    wave = c.f.y + 3.6 * np.sin(c.f.x * 0.19 + phase) + 1.5 * np.sin(c.f.x * 0.43 + phase * 2)
    bands = np.floor(wave / 5.0) % 3
    c.mix((bands == 0) * c.sky, c.colours.accent, 0.75)
    c.mix((bands == 1) * c.sky, c.colours.body, 0.45)


def de_stijl(c: Canvas) -> None:
    """Black bars and filled blocks."""
    xs, ys = (
        (11 + c.rng.uniform(-2, 2), 46 + c.rng.uniform(-3, 3)),
        (9 + c.rng.uniform(-2, 2), 27 + c.rng.uniform(-3, 3)),
    )
    c.mix(((c.f.x < xs[0]) & (c.f.y > ys[1])) * c.sky, c.colours.accent)
    c.mix(((c.f.x > xs[1]) & (c.f.y < ys[0])) * c.sky, c.colours.body)
    c.mix(((c.f.x > xs[1]) & (c.f.y > ys[1])) * c.sky, c.colours.light)
    bars = np.minimum.reduce([np.abs(c.f.x - v) for v in xs] + [np.abs(c.f.y - v) for v in ys])
    c.mix(soft(bars - 1.1) * c.sky, c.colours.dark)


def bauhaus(c: Canvas) -> None:
    """A quarter disc, a triangle and a disc."""
    c.mix(soft(np.hypot(c.f.x, c.f.y) - 24) * c.sky, c.colours.accent)
    c.mix(soft(np.hypot(c.f.x, c.f.y) - 12) * c.sky, c.colours.light)
    c.mix(soft(np.abs(c.f.x - 52) * 1.6 + (c.f.y - 24)) * (c.f.y < 24) * c.sky, c.colours.dark)
    c.mix(soft(np.hypot(c.f.x - 57, c.f.y - 33) - 6) * c.sky, c.colours.body)


def suprematism(c: Canvas) -> None:
    """Floating bars at one steep angle."""
    u, v = c.f.x * 0.85 + c.f.y * 0.53, -c.f.x * 0.53 + c.f.y * 0.85
    spots = (
        (12, -4, 7, 2.6, "dark"),
        (34, -12, 13, 2.0, "accent"),
        (58, -22, 8, 3.4, "body"),
        (22, 12, 6, 1.4, "accent"),
        (60, -6, 5, 1.6, "dark"),
    )
    for cu, cv, ru, rv, role in spots:
        inside = np.maximum(np.abs(u - cu) - ru, np.abs(v - cv) - rv)
        c.mix(soft(inside) * c.sky, getattr(c.colours, role))


def art_nouveau(c: Canvas) -> None:
    """A double arch with a halo disc behind the subject."""
    d = np.hypot(c.f.x - 32, (c.f.y - 36) * 0.95)
    c.mix(soft(d - 20) * c.sky, c.colours.light, 0.9)
    c.mix(soft(np.abs(d - 22.5) - 1.6) * c.sky, c.colours.dark)
    c.mix(soft(np.abs(d - 27.5) - 1.0) * c.sky, c.colours.accent)
    c.mix(soft(31 - d) * c.sky, c.colours.accent, 0.55)


def ukiyo_e(c: Canvas) -> None:
    """Rows of overlapping wave scales over the sky."""
    for row in range(-1, 14):
        cy = row * 5.0 + 5
        x = (c.f.x + (row % 2) * 6) % 12 - 6
        d = np.hypot(x, c.f.y - cy)
        inside = (d < 6.2) & (c.f.y <= cy)
        ring = soft(np.abs(d - 5.4) - 0.7) + soft(np.abs(d - 2.6) - 0.6)
        c.mix(inside * c.sky, c.colours.light, 0.85)
        c.mix(np.clip(ring, 0, 1) * inside * c.sky, c.colours.accent)


def memphis(c: Canvas) -> None:
    """Confetti: little bars, triangles and rings scattered about."""
    roles = ("body", "accent", "dark")
    for i in range(15):
        x, y = (i % 5) * 13 + 6 + c.rng.uniform(-3, 3), (i // 5) * 13 + 6 + c.rng.uniform(-3, 3)
        turn = c.rng.uniform(0, np.pi)
        u = (c.f.x - x) * np.cos(turn) + (c.f.y - y) * np.sin(turn)
        v = -(c.f.x - x) * np.sin(turn) + (c.f.y - y) * np.cos(turn)
        if i % 3 == 0:
            d = np.maximum(np.abs(u) - 3.6, np.abs(v + 0.9 * np.sin(u * 1.6)) - 0.8)
        elif i % 3 == 1:
            d = np.maximum(np.abs(u) * 1.7 + v - 2.4, -v - 2.2)
        else:
            d = np.abs(np.hypot(u, v) - 2.3) - 0.7
        c.mix(soft(d) * c.sky, getattr(c.colours, roles[(i // 3 + i) % 3]))


def surrealism(c: Canvas) -> None:
    """A checkered plain running to the horizon, under a deepening sky."""
    depth = np.clip((c.f.y - 12) / 52, 0, 1)
    c.mix((0.75 * (1 - depth)).astype(np.float32) * c.sky, c.colours.accent, 0.8)
    horizon = c.f.y[np.argmax(c.sky[:, 2] < 0.5), 0] if (c.sky[:, 2] < 0.5).any() else 64.0
    below = np.maximum(c.f.y - horizon, 0.05)
    check = (np.floor((c.f.x - 32) / (1.2 + below * 0.42)) + np.floor(14 * np.log1p(below / 6))) % 2
    c.mix(check * (1 - c.sky) * (1 - c.subject), c.colours.dark, 0.8)


MOVEMENTS: dict[str, Treatment] = {
    "pop art": pop_art,
    "art deco": art_deco,
    "op art": op_art,
    "expressionism": expressionism,
    "de stijl": de_stijl,
    "bauhaus": bauhaus,
    "suprematism": suprematism,
    "art nouveau": art_nouveau,
    "ukiyo-e": ukiyo_e,
    "memphis": memphis,
}
"""Motifs painted behind setting and subject."""


WHOLE_MOVEMENTS: dict[str, Treatment] = {
    "cubism": cubism,
    "impressionism": impressionism,
    "pointillism": pointillism,
    "surrealism": surrealism,
}
"""Movements that treat the finished scene."""
