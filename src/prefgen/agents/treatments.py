"""Movements, textures, media, compositions' frames and looks as small functions on pictures.

Every treatment takes the `Canvas` and changes its `image` (float32 [side, side, 3] in [0, 1]). Lengths are in 1/64 of
the side. Treatments keep to their own channel as far as they can (motifs to the sky, textures to value), so that two
families can be told apart in one picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prefgen.agents.fields import N_BANK, Fields, blurred, displaced
from prefgen.agents.palettes import Colours


@dataclass(kw_only=True)
class Canvas:
    """A picture in the making. `sky` and `subject` are coverage masks float32 [side, side]."""

    image: np.ndarray
    f: Fields
    colours: Colours
    rng: np.random.Generator
    sky: np.ndarray
    subject: np.ndarray
    centre: tuple[float, float]
    density: float = 0.0

    def px(self, length: float) -> int:
        """A length in 1/64 units as whole pixels."""
        return max(1, round(length * self.f.unit))

    def bank(self, patterns: np.ndarray) -> np.ndarray:
        """One pattern of a bank, rolled at random."""
        n = self.f.side_px
        return np.roll(patterns[self.rng.integers(N_BANK)], self.rng.integers(0, n, 2), (0, 1))

    def mix(self, mask: np.ndarray, colour: np.ndarray, strength: float = 1.0) -> None:
        """Lays a colour over the picture through a mask."""
        weight = (mask * strength)[..., None]
        self.image = self.image * (1 - weight) + colour * weight

    def shade(self, amount: np.ndarray) -> None:
        """Darkens (negative) or lightens (positive) by an amount in [-1, 1] per pixel."""
        a = amount[..., None]
        self.image = np.where(a < 0, self.image * (1 + a), self.image + (1 - self.image) * a)


def _soft(distance: np.ndarray, width: float = 0.6) -> np.ndarray:
    return np.clip(0.5 - distance / width, 0, 1).astype(np.float32)


# ---------------------------------------------------------------- movements: motifs in the sky


def pop_art(c: Canvas) -> None:
    """Large halftone dots."""
    u, v = (c.f.x + c.f.y) * 0.7071, (c.f.x - c.f.y) * 0.7071
    d = np.hypot((u % 7) - 3.5, (v % 7) - 3.5)
    c.mix(_soft(d - 2.2) * c.sky, c.colours.accent, 0.85)


def art_deco(c: Canvas) -> None:
    """A sunburst from the foot of the picture."""
    angle = np.arctan2(66 - c.f.y, c.f.x - 32)
    rays = _soft(-np.sin(angle * 15) * 2)
    c.mix(rays * c.sky, c.colours.accent, 0.6)


def op_art(c: Canvas) -> None:
    """Concentric rings in full contrast."""
    d = np.hypot(c.f.x - c.centre[0], c.f.y - c.centre[1] + 4)
    c.mix(_soft(-np.sin(d * 2 * np.pi / 7.5) * 2) * c.sky, c.colours.dark, 0.95)


def cubism(c: Canvas) -> None:
    """Big facets, each shifted and shaded on its own."""
    pick = c.rng.integers(N_BANK)
    cells, edges = c.f.cells_big[pick], c.f.edges_big[pick]
    n = int(cells.max()) + 1
    shift = c.rng.uniform(-3.5, 3.5, (n, 2)) * c.f.unit
    c.image = displaced(c.image, shift[cells, 0], shift[cells, 1])
    c.shade((c.rng.permutation(np.linspace(-0.34, 0.3, n))[cells]).astype(np.float32))
    c.mix(_soft(edges - 0.7), c.colours.dark, 0.55)


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
    c.mix(1 - _soft(d - 1.95, 0.9), c.colours.light, 0.8)


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
    c.mix(_soft(bars - 1.1) * c.sky, c.colours.dark)


def bauhaus(c: Canvas) -> None:
    """A quarter disc, a triangle and a disc."""
    c.mix(_soft(np.hypot(c.f.x, c.f.y) - 24) * c.sky, c.colours.accent)
    c.mix(_soft(np.hypot(c.f.x, c.f.y) - 12) * c.sky, c.colours.light)
    c.mix(_soft(np.abs(c.f.x - 52) * 1.6 + (c.f.y - 24)) * (c.f.y < 24) * c.sky, c.colours.dark)
    c.mix(_soft(np.hypot(c.f.x - 57, c.f.y - 33) - 6) * c.sky, c.colours.body)


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
        c.mix(_soft(inside) * c.sky, getattr(c.colours, role))


def art_nouveau(c: Canvas) -> None:
    """A double arch with a halo disc behind the subject."""
    d = np.hypot(c.f.x - 32, (c.f.y - 36) * 0.95)
    c.mix(_soft(d - 20) * c.sky, c.colours.light, 0.9)
    c.mix(_soft(np.abs(d - 22.5) - 1.6) * c.sky, c.colours.dark)
    c.mix(_soft(np.abs(d - 27.5) - 1.0) * c.sky, c.colours.accent)
    c.mix(_soft(31 - d) * c.sky, c.colours.accent, 0.55)


def ukiyo_e(c: Canvas) -> None:
    """Rows of overlapping wave scales over the sky."""
    for row in range(-1, 14):
        cy = row * 5.0 + 5
        x = (c.f.x + (row % 2) * 6) % 12 - 6
        d = np.hypot(x, c.f.y - cy)
        inside = (d < 6.2) & (c.f.y <= cy)
        ring = _soft(np.abs(d - 5.4) - 0.7) + _soft(np.abs(d - 2.6) - 0.6)
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
        c.mix(_soft(d) * c.sky, getattr(c.colours, roles[(i // 3 + i) % 3]))


def surrealism(c: Canvas) -> None:
    """A checkered plain running to the horizon, under a deepening sky."""
    depth = np.clip((c.f.y - 12) / 52, 0, 1)
    c.mix((0.75 * (1 - depth)).astype(np.float32) * c.sky, c.colours.accent, 0.8)
    horizon = c.f.y[np.argmax(c.sky[:, 2] < 0.5), 0] if (c.sky[:, 2] < 0.5).any() else 64.0
    below = np.maximum(c.f.y - horizon, 0.05)
    check = (np.floor((c.f.x - 32) / (1.2 + below * 0.42)) + np.floor(14 * np.log1p(below / 6))) % 2
    c.mix(check * (1 - c.sky) * (1 - c.subject), c.colours.dark, 0.8)


# ---------------------------------------------------------------- textures: over everything, in value


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
    c.shade(-0.52 * _soft(np.abs((c.f.x + c.f.y) % 5.0 - 2.5) - 0.75))


def cracked(c: Canvas) -> None:
    """A net of dark cracks."""
    c.shade(-0.62 * _soft(c.f.edges_small[c.rng.integers(N_BANK)] - 0.75, 0.9))


def speckled(c: Canvas) -> None:
    """Drops of dark and light spatter."""
    for i in range(44):
        x, y, r = *c.rng.uniform(0, 64, 2), c.rng.uniform(0.9, 2.3)
        lo_x, hi_x = int(max(0, (x - 4) * c.f.unit)), int((x + 4) * c.f.unit) + 1
        lo_y, hi_y = int(max(0, (y - 4) * c.f.unit)), int((y + 4) * c.f.unit) + 1
        spot = np.s_[lo_y:hi_y, lo_x:hi_x]
        drop = _soft(np.hypot(c.f.x[spot] - x, c.f.y[spot] - y) - r, 0.8)[..., None]
        c.image[spot] = c.image[spot] * (1 - drop) + drop * (0.08 if i % 3 else 0.97)


def glossy(c: Canvas) -> None:
    """Slanting streaks of reflected light."""
    u = c.f.x + c.f.y * 0.55 + c.rng.uniform(-6, 6)
    c.shade(
        0.62 * (_soft(np.abs(u - 26) - 3.2, 2.5) + _soft(np.abs(u - 36) - 1.3, 1.6) + _soft(np.abs(u - 70) - 3.2, 2.5))
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
    c.shade((0.75 * _soft(vein - 0.16, 0.22) - 0.3 * vein).astype(np.float32))


def perforated(c: Canvas) -> None:
    """A regular grid of dark pin holes."""
    d = np.hypot(c.f.x % 5.33 - 2.66, c.f.y % 5.33 - 2.66)
    c.shade(-0.85 * _soft(d - 1.0, 0.8))


def crumpled(c: Canvas) -> None:
    """Creased paper: long folds between light and shade."""
    pick = c.rng.integers(N_BANK)
    tilt = c.rng.uniform(-1, 1, (int(c.f.cells_big[pick].max()) + 1, 2))
    cell = c.f.cells_big[pick]
    slope = (tilt[cell, 0] * (c.f.x % 16 - 8) + tilt[cell, 1] * (c.f.y % 16 - 8)) / 12
    c.shade(np.clip(slope * 0.5, -0.32, 0.32).astype(np.float32))
    c.shade(0.5 * _soft(c.f.edges_big[pick] - 0.7, 0.8))


def weathered(c: Canvas) -> None:
    """Paint flaked off in patches, dark at the rim, paper showing."""
    patch = c.bank(c.f.smooth) + 0.45 * c.bank(c.f.fine)
    c.mix(np.clip((patch - 0.12) * 9, 0, 1).astype(np.float32), np.array([0.24, 0.19, 0.15], np.float32), 0.85)
    c.mix(np.clip((patch - 0.32) * 9, 0, 1).astype(np.float32), np.array([0.95, 0.93, 0.88], np.float32), 0.97)


# ---------------------------------------------------------------- media: how paint meets paper

PAPER = np.array([0.965, 0.955, 0.93], dtype=np.float32)


def watercolour(c: Canvas) -> None:
    """Washes that bleed, pool at their edges and leave a white margin."""
    dx, dy = c.bank(c.f.smooth), c.bank(c.f.smooth)
    c.image = blurred(displaced(c.image, 2 * dx * c.f.unit, 2 * dy * c.f.unit), 1)
    c.image = c.image + (PAPER - c.image) * (0.34 + 0.22 * c.bank(c.f.smooth))[..., None]
    border = np.minimum(np.minimum(c.f.x, 64 - c.f.x), np.minimum(c.f.y, 64 - c.f.y)) - 3.5 + 2.6 * dx
    c.shade(-0.3 * _soft(np.abs(border - 1.2) - 0.6, 1.2))
    c.mix(_soft(border, 1.0), PAPER)


def ink(c: Canvas) -> None:
    """Line drawing: fills left as tinted paper, edges in ink."""
    grey = c.image.mean(-1)
    edge = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    line = np.clip(edge * 7 - 0.25, 0, 1)
    wash = c.image + (PAPER - c.image) * 0.74
    tint = c.colours.dark * 0.8
    c.image = wash * (1 - line[..., None]) + tint * line[..., None]


def silkscreen(c: Canvas) -> None:
    """Three tones, the plates out of register."""
    k = c.px(1.6)
    poster = np.round(np.clip(c.image, 0, 1) * 2.4) / 2.4
    c.image = np.stack([np.roll(poster[..., 0], -k, 1), poster[..., 1], np.roll(poster[..., 2], (k, k), (0, 1))], -1)


def charcoal(c: Canvas) -> None:
    """Smudged and sooty: soft shadows gather round every edge."""
    grey = c.image.mean(-1)
    edge = np.abs(grey - blurred(grey, c.px(2)))
    soot = 0.55 * blurred(np.clip(edge * 5, 0, 1), c.px(1)) + 0.14 + 0.2 * c.bank(c.f.fine)
    c.image = 0.6 * c.image + 0.4 * blurred(c.image, c.px(0.9))
    c.image = c.image * 0.7 + c.image.mean(-1, keepdims=True) * 0.3
    c.shade(-np.clip(soot, 0, 0.75))


def oil_paint(c: Canvas) -> None:
    """Thick strokes dragged down to the right, ridged with light."""
    drag = [np.roll(c.image, (c.px(i), c.px(i)), (0, 1)) for i in (0, 1.2, 2.4)]
    u, v = c.f.x + c.f.y, c.f.x - c.f.y
    stroke = (np.floor(v / 4.2) * 13 + np.floor((u + 5 * np.floor(v / 4.2)) / 13)).astype(int) % 509
    pick = c.rng.integers(0, 3, 509)[stroke]
    c.image = np.choose(pick[..., None], drag)
    ridge = (v % 4.2) / 4.2
    c.shade(
        (0.4 * _soft(np.abs(ridge - 0.25) - 0.12, 0.1) - 0.36 * _soft(np.abs(ridge - 0.85) - 0.12, 0.1)).astype(
            np.float32
        )
    )


def _blocks(c: Canvas, size: float) -> np.ndarray:
    k = c.px(size)
    n = -(-c.f.side_px // k)
    wide = np.pad(c.image, ((0, n * k - c.f.side_px),) * 2 + ((0, 0),), mode="edge")
    mean = wide.reshape(n, k, n, k, 3).mean((1, 3))
    return np.repeat(np.repeat(mean, k, 0), k, 1)[: c.f.side_px, : c.f.side_px]


def mosaic(c: Canvas) -> None:
    """Square stones with pale grout, each a shade of its own."""
    size = c.px(4) / c.f.unit
    c.image = 0.3 * c.image + 0.7 * _blocks(c, 4)
    index = (np.floor(c.f.x / size) + 13 * np.floor(c.f.y / size)).astype(int) % 331
    c.shade(c.rng.uniform(-0.2, 0.16, 331).astype(np.float32)[index])
    grout = np.minimum(c.f.x % size, c.f.y % size)
    c.mix(_soft(grout - 0.9, 0.4), PAPER, 0.55)


def stained_glass(c: Canvas) -> None:
    """Panes of one colour each, leaded in black."""
    pick = c.rng.integers(N_BANK)
    cells = c.f.cells_small[pick]
    n = int(cells.max()) + 1
    count = np.maximum(np.bincount(cells.ravel(), minlength=n), 1)
    pane = np.stack([np.bincount(cells.ravel(), c.image[..., i].ravel(), n) / count for i in range(3)], -1)
    grey = pane.mean(-1, keepdims=True)
    pane = np.clip(grey + (pane - grey) * 1.3, 0, 1).astype(np.float32)
    c.image = 0.6 * c.image + 0.4 * pane[cells]
    c.mix(_soft(c.f.edges_small[pick] - 0.9, 0.8), np.zeros(3, np.float32), 0.95)


def pixel_art(c: Canvas) -> None:
    """Four-unit pixels in few tones."""
    c.image = np.round(_blocks(c, 4) * 5) / 5


def woodcut(c: Canvas) -> None:
    """Gouged in level cuts that widen with the light."""
    grey = np.clip(c.image.mean(-1), 0, 1)
    cut = np.abs(c.f.y % 3.6 - 1.8) / 1.8
    black = (cut > 0.25 + 0.72 * grey).astype(np.float32)
    c.image = np.clip((c.image - 0.5) * 1.15 + 0.56, 0, 1)
    c.mix(blurred(black, 0), c.colours.dark * 0.6, 0.9)


def embroidery(c: Canvas) -> None:
    """Slanting stitches in rows, thread by thread."""
    row = np.floor(c.f.y / 4)
    slant = np.where(row % 2 == 0, c.f.x + c.f.y, c.f.x - c.f.y)
    thread = np.sin(slant * 2 * np.pi / 2.9)
    c.shade((0.3 * np.clip(thread, 0, 1) - 0.3 * np.clip(-thread, 0, 1)).astype(np.float32))
    c.shade(-0.35 * _soft(np.abs(c.f.y % 4 - 0.3) - 0.3))


def collage(c: Canvas) -> None:
    """Cut paper: a white rim about the subject and its shadow on what lies below."""
    grown = np.clip(blurred(c.subject, c.px(1.4)) * 9, 0, 1)
    shadow = np.roll(blurred(grown, c.px(1)), (c.px(3), c.px(3)), (0, 1))
    keep = c.image.copy()
    c.shade(-0.62 * shadow * (1 - grown))
    c.mix(grown, np.ones(3, np.float32))
    subject = c.subject[..., None]
    c.image = c.image * (1 - subject) + keep * subject


def airbrush(c: Canvas) -> None:
    """Sprayed: every edge soft, everything in a light haze."""
    k = c.px(1)
    c.image = 0.75 * blurred(c.image, k) + 0.25 * blurred(c.image, 4 * k)
    c.shade(np.full_like(c.sky, 0.1))


# ---------------------------------------------------------------- frames: what composition lays over the picture


def framed(c: Canvas) -> None:
    """A dark mount with a light inner line."""
    border = np.minimum(np.minimum(c.f.x, 64 - c.f.x), np.minimum(c.f.y, 64 - c.f.y))
    c.mix(_soft(border - 5), c.colours.dark)
    c.mix(_soft(np.abs(border - 5.7) - 0.7), c.colours.light)


def tondo(c: Canvas) -> None:
    """A round picture on paper."""
    c.mix(_soft(30 - np.hypot(c.f.x - 32, c.f.y - 32)), PAPER)


def diptych(c: Canvas) -> None:
    """Two panels, the right one in shade."""
    c.shade(-0.5 * (c.f.x > 32))
    c.mix(_soft(np.abs(c.f.x - 32) - 1.2), PAPER)


def triptych(c: Canvas) -> None:
    """Three panels with pale gaps."""
    gap = np.minimum(np.abs(c.f.x - 20), np.abs(c.f.x - 44))
    c.mix(_soft(gap - 1.5), PAPER)


def vignette(c: Canvas) -> None:
    """Corners sunk in the dark."""
    d = np.hypot(c.f.x - 32, c.f.y - 32)
    c.shade((-0.92 * np.clip((d - 24) / 14, 0, 1)).astype(np.float32))


def letterbox(c: Canvas) -> None:
    """Black bars above and below."""
    c.mix(_soft(np.minimum(c.f.y, 64 - c.f.y) - 8.5), np.zeros(3, np.float32))


def window_view(c: Canvas) -> None:
    """Seen through a cross-barred window."""
    border = np.minimum(np.minimum(c.f.x, 64 - c.f.x), np.minimum(c.f.y, 64 - c.f.y))
    bars = np.minimum(np.abs(c.f.x - 32), np.abs(c.f.y - 26))
    c.mix(np.maximum(_soft(bars - 1.4), _soft(border - 2)), np.array([0.98, 0.98, 0.97], np.float32))
    c.shade(-0.4 * _soft(np.abs(bars - 2.2) - 0.5) * _soft(2 - border))


MOVEMENTS: dict[str, Callable[[Canvas], None]] = {
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

WHOLE_MOVEMENTS: dict[str, Callable[[Canvas], None]] = {
    "cubism": cubism,
    "impressionism": impressionism,
    "pointillism": pointillism,
    "surrealism": surrealism,
}
"""Movements that treat the finished scene."""

TEXTURES: dict[str, Callable[[Canvas], None]] = {
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

MEDIA: dict[str, Callable[[Canvas], None]] = {
    "watercolour": watercolour,
    "ink": ink,
    "silkscreen": silkscreen,
    "charcoal": charcoal,
    "oil paint": oil_paint,
    "mosaic": mosaic,
    "stained glass": stained_glass,
    "pixel art": pixel_art,
    "woodcut": woodcut,
    "embroidery": embroidery,
    "collage": collage,
    "airbrush": airbrush,
}

FRAMES: dict[str, Callable[[Canvas], None]] = {
    "framed": framed,
    "tondo": tondo,
    "diptych": diptych,
    "triptych": triptych,
    "vignette": vignette,
    "letterbox": letterbox,
    "window view": window_view,
}
