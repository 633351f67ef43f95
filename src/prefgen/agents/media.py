"""Media: how paint meets paper."""

from __future__ import annotations

import numpy as np

from prefgen.agents.canvas import PAPER, Canvas, Treatment, soft
from prefgen.agents.fields import N_BANK, blurred, displaced


def watercolour(c: Canvas) -> None:
    """Washes that bleed, pool at their edges and leave a white margin."""
    dx, dy = c.bank(c.f.smooth), c.bank(c.f.smooth)
    c.image = blurred(displaced(c.image, 2 * dx * c.f.unit, 2 * dy * c.f.unit), 1)
    c.image = c.image + (PAPER - c.image) * (0.34 + 0.22 * c.bank(c.f.smooth))[..., None]
    border = np.minimum(np.minimum(c.f.x, 64 - c.f.x), np.minimum(c.f.y, 64 - c.f.y)) - 3.5 + 2.6 * dx
    c.shade(-0.3 * soft(np.abs(border - 1.2) - 0.6, 1.2))
    c.mix(soft(border, 1.0), PAPER)


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
        (0.4 * soft(np.abs(ridge - 0.25) - 0.12, 0.1) - 0.36 * soft(np.abs(ridge - 0.85) - 0.12, 0.1)).astype(
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
    c.mix(soft(grout - 0.9, 0.4), PAPER, 0.55)


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
    c.mix(soft(c.f.edges_small[pick] - 0.9, 0.8), np.zeros(3, np.float32), 0.95)


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
    c.shade(-0.35 * soft(np.abs(c.f.y % 4 - 0.3) - 0.3))


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


MEDIA: dict[str, Treatment] = {
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
