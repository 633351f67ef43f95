"""The procedural painter: one scene in, one picture out, the same on every machine for the same seed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import aggdraw
import numpy as np
from PIL import Image

from prefgen.agents.canvas import Canvas
from prefgen.agents.fields import blurred, fields
from prefgen.agents.frames import FRAMES
from prefgen.agents.looks import after_subject, before_subject
from prefgen.agents.media import MEDIA
from prefgen.agents.movements import MOVEMENTS, WHOLE_MOVEMENTS
from prefgen.agents.palettes import PALETTES, Colours, natural
from prefgen.agents.scene import Scene
from prefgen.agents.settings import draw_setting
from prefgen.agents.subjects import Part, natural_hues, parts_of
from prefgen.agents.textures import TEXTURES

SIDE_PX = 64
"""The side of a training picture in pixels."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    horizon: float
    tilt: float
    centres: tuple[tuple[float, float], ...]
    radius: float


def _layout(scene: Scene, rng: np.random.Generator) -> _Layout:
    composition = scene.values.get("composition")
    place, size = scene.continuous.get("place", 0.0), scene.continuous.get("size", 0.0)
    horizon = {"low horizon": 54.0, "high horizon": 18.0}.get(composition or "", 41.0) + rng.uniform(-1, 1)
    radius = 19.0 * (1 + 0.26 * size)
    foot = max(min(horizon + 9, 59.0), 50.0) + rng.uniform(-1, 1)
    x = 32 + 9.5 * place + rng.uniform(-0.8, 0.8)
    centres: tuple[tuple[float, float], ...] = ((x, foot - radius),)
    if composition == "repetition":
        radius *= 0.5
        centres = tuple((x + dx, foot - radius - (2 if dx else 0)) for dx in (-19, 0, 19))
    return _Layout(horizon=horizon, tilt=-0.24 if composition == "tilted" else 0.0, centres=centres, radius=radius)


def _jittered_colours(scene: Scene, rng: np.random.Generator) -> Colours:
    palette = scene.values.get("palette")
    base = PALETTES[palette] if palette else natural(*natural_hues(scene.subject))
    jitter = lambda colour: np.clip(colour + rng.uniform(-0.03, 0.03, 3), 0, 1).astype(np.float32)  # noqa: E731
    return Colours(**{role: jitter(getattr(base, role)) for role in Colours.__dataclass_fields__})


def _turned(points: np.ndarray, tilt: float) -> np.ndarray:
    if not tilt:
        return points
    c, s = np.cos(tilt), np.sin(tilt)
    return (points - 32) @ np.array([[c, s], [-s, c]]) + 32


def _placed(
    part: Part, scene: Scene, layout: _Layout, centre: tuple[float, float], mirror: bool, lean: float
) -> np.ndarray:
    points = part.points * (np.array([-1.0, 1.0]) if mirror else 1.0)
    c, s = np.cos(lean), np.sin(lean)
    points = points @ np.array([[c, s], [-s, c]])
    return _turned(points * layout.radius + np.array(centre), layout.tilt)


def _flat(points: np.ndarray, unit: float) -> list[float]:
    return (points * unit).ravel().tolist()


def _resampled(points: np.ndarray, spacing: float, closed: bool) -> np.ndarray:
    ring = np.concatenate([points, points[:1]]) if closed else points
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(ring, axis=0).T))])
    n = max(4, int(length[-1] / spacing))
    at = np.linspace(0, length[-1], n, endpoint=not closed)
    return np.stack([np.interp(at, length, ring[:, i]) for i in (0, 1)], 1)


def _shaped(points: np.ndarray, hand: str | None, closed: bool, rng: np.random.Generator) -> np.ndarray:
    if hand == "angular" and closed and len(points) > 9:
        keep = max(4, min(6, len(points) // 5))
        return points[np.linspace(0, len(points), keep, endpoint=False).astype(int)]
    if hand == "trembling" and closed:
        fine = _resampled(points, 3.4, closed)
        away = fine - fine.mean(0)
        away /= np.maximum(np.hypot(*away.T), 1e-6)[:, None]
        return fine + np.where(np.arange(len(fine)) % 2 == 0, 1.5, -0.7)[:, None] * away
    return points


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    r, g, b = (np.clip(colour, 0, 1) * 255).round().astype(int).tolist()
    return r, g, b


class _Pen:
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
        self.draw.line(_flat(ring, self.unit), aggdraw.Pen(_rgb(colour), width * self.unit))

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
            white, edge = aggdraw.Brush("white"), aggdraw.Pen(_rgb(self.colours.dark), 0.35 * self.unit)
            for angle, r in zip(around, radius):
                x, y = middle + (half + 5.0) * np.array([np.cos(angle), np.sin(angle)])
                box = [(v * self.unit) for v in (x - r, y - r, x + r, y + r)]
                self.draw.ellipse(box, edge, white)


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    """The placed parts of every copy of the subject: (part, points) in drawing order."""

    copies: list[list[tuple[Part, np.ndarray]]]
    radius: float


def _drawing(scene: Scene, layout: _Layout, rng: np.random.Generator) -> _Drawing:
    hand = scene.values.get("hand")
    mirror, lean = bool(rng.random() < 0.5), float(rng.uniform(-0.06, 0.06))
    copies = [
        [
            (part, _shaped(_placed(part, scene, layout, centre, mirror, lean), hand, part.closed, rng))
            for part in parts_of(scene.subject)
        ]
        for centre in layout.centres
    ]
    return _Drawing(copies=copies, radius=layout.radius)


def _draw_subject(base: Image.Image, drawing: _Drawing, colours: Colours, unit: float, pen: _Pen | None) -> np.ndarray:
    """Fills every part, outlined by `pen` if there is one; returns the subject's coverage float32 [h, w]."""
    mask_image = Image.new("L", base.size)
    draw, mask = pen.draw if pen else aggdraw.Draw(base), aggdraw.Draw(mask_image)
    white = aggdraw.Brush("white")
    for copy in drawing.copies:
        for part, points in copy:
            colour = getattr(colours, part.role)
            if part.closed:
                draw.polygon(_flat(points, unit), None, aggdraw.Brush(_rgb(colour)))
                mask.polygon(_flat(points, unit), None, white)
                if pen and part.role in ("body", "accent"):
                    pen.outline(points, True)
            else:
                stroke_width = (1.5 if part.role == "dark" else 2.0) * unit * max(drawing.radius / 19, 0.6)
                draw.line(_flat(points, unit), aggdraw.Pen(_rgb(colour), stroke_width))
                mask.line(_flat(points, unit), aggdraw.Pen("white", stroke_width))
        if pen:
            pen.over_all([points for _, points in copy])
    draw.flush()
    mask.flush()
    return np.asarray(mask_image, dtype=np.float32) / 255


def _ground_lines(c: Canvas, ground: np.ndarray, horizon: np.ndarray) -> None:
    n = 2.2 * 2 ** (1.15 * c.density)
    spacing = 11.0 / n
    depth = c.f.y - horizon
    lines = np.clip(0.5 - (np.abs(depth % spacing - spacing / 2) - 0.32) / 0.6, 0, 1) * (depth > 1)
    c.mix(lines.astype(np.float32) * ground, c.colours.dark, 0.5)


def _finish(image: np.ndarray, scene: Scene) -> np.ndarray:
    warmth, contrast = scene.continuous.get("warmth", 0.0), scene.continuous.get("contrast", 0.0)
    image = (image - 0.5) * 2 ** (0.55 * contrast) + 0.5
    return image * (1 + warmth * np.array([0.13, 0.0, -0.2], dtype=np.float32))


def paint(scene: Scene, side_px: int = SIDE_PX) -> np.ndarray:
    """Paints a scene as uint8 [side_px, side_px, 3] RGB. A pure function of the scene and the side."""
    f = fields(side_px)
    rng = np.random.default_rng(scene.seed)
    layout, colours = _layout(scene, rng), _jittered_colours(scene, rng)
    slope = np.tan(layout.tilt)
    horizon = layout.horizon + slope * (f.x - 32)
    sky = np.clip(0.5 - (f.y - horizon), 0, 1).astype(np.float32)
    image = np.broadcast_to(colours.sky, (side_px, side_px, 3)).astype(np.float32)
    c = Canvas(
        image=image,
        f=f,
        colours=colours,
        rng=rng,
        sky=sky,
        subject=np.zeros_like(sky),
        centre=layout.centres[len(layout.centres) // 2],
        density=scene.continuous.get("density", 0.0),
    )
    movement, composition = scene.values.get("movement"), scene.values.get("composition")
    if movement in MOVEMENTS:
        MOVEMENTS[movement](c)
    before_subject(c, scene.look)
    c.mix(1 - sky, colours.ground)
    draw_setting(c, scene.setting, horizon)
    _ground_lines(c, 1 - sky, horizon)
    if composition == "spotlight":
        c.mix(np.clip(22 - np.hypot(f.x - c.centre[0], f.y - c.centre[1]), 0, 1), colours.light, 0.85)
    lines = _paste_subject(c, scene, layout)
    if movement in WHOLE_MOVEMENTS:
        WHOLE_MOVEMENTS[movement](c)
    if scene.values.get("medium"):
        MEDIA[scene.values["medium"]](c)
    _beside_subject(c, scene.look)
    after_subject(c, scene.look)
    if scene.values.get("texture"):
        TEXTURES[scene.values["texture"]](c)
    if lines is not None:
        drawn, where = lines
        c.image = c.image * (1 - where) + drawn * where
    c.image = _finish(np.clip(c.image, 0, 1), scene)
    if composition == "spotlight":
        d = np.hypot(f.x - c.centre[0], f.y - c.centre[1])
        c.shade(-0.62 * np.clip((d - 21) / 2, 0, 1).astype(np.float32))
    if composition in FRAMES:
        FRAMES[composition](c)
    return (np.clip(c.image, 0, 1) * 255).round().astype(np.uint8)


def _paste_subject(c: Canvas, scene: Scene, layout: _Layout) -> tuple[np.ndarray, np.ndarray] | None:
    """Paints the subject. A hand's lines come back by themselves, as (picture, coverage [h, w, 1]): they are drawn
    last, over medium and texture, or they would be lost under them."""
    hand = scene.values.get("hand")
    width = 1.0 * 2 ** (0.75 * scene.continuous.get("stroke", 0.0))
    colours, unit = c.colours, c.f.unit
    drawing = _drawing(scene, layout, c.rng)
    if hand == "restrained":
        body = colours.body
        colours = replace(colours, body=body, accent=body, dark=body, light=body)
    under = (np.clip(c.image, 0, 1) * 255).round().astype(np.uint8)
    base = Image.fromarray(under)
    plain_pen = _Pen(aggdraw.Draw(base), None, colours, width, unit, c.rng) if hand is None else None
    c.subject = _draw_subject(base, drawing, colours, unit, plain_pen)
    painted = np.asarray(base, dtype=np.float32) / 255
    changed = np.abs(painted - under / 255).max(-1) > 1e-3
    c.image = np.where(changed[..., None], painted, c.image).astype(np.float32)
    if hand is None or hand == "restrained":
        return None
    lined = Image.fromarray(under)
    _draw_subject(lined, drawing, colours, unit, _Pen(aggdraw.Draw(lined), hand, colours, width, unit, c.rng))
    drawn = np.asarray(lined, dtype=np.float32) / 255
    where = np.clip((np.abs(drawn - painted).max(-1, keepdims=True) - 0.02) * 9, 0, 1)
    return drawn, where


def _beside_subject(c: Canvas, look: str | None) -> None:
    """The looks that need the subject's silhouette and lie around it, never on it."""
    around = 1 - c.subject
    if look == "look-0":
        glow = np.clip(blurred(c.subject, c.px(3)) * 3.0, 0, 1)
        c.mix(glow * around, np.array([1.0, 0.93, 0.35], np.float32), 0.9)
    elif look == "look-3":
        slid = np.roll(c.subject, (c.px(3), c.px(9)), (0, 1))
        c.shade(-0.7 * slid * around)
    elif look == "look-7":
        ghost = np.clip(np.roll(c.subject, (-c.px(7), -c.px(8)), (0, 1)), 0, 1)
        c.mix(ghost * around, c.colours.accent, 0.7)
