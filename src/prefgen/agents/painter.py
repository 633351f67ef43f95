"""The procedural painter: one scene in, one picture out, the same on every machine for the same seed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import aggdraw
import numpy as np
from PIL import Image

from prefgen.agents.fields import blurred, fields
from prefgen.agents.looks import after_subject, before_subject
from prefgen.agents.palettes import PALETTES, Colours, natural
from prefgen.agents.scene import Scene
from prefgen.agents.settings import draw_setting
from prefgen.agents.subjects import Part, natural_hues, parts_of
from prefgen.agents.treatments import FRAMES, MEDIA, MOVEMENTS, TEXTURES, WHOLE_MOVEMENTS, Canvas

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
    if hand == "trembling":
        fine = _resampled(points, 1.7, closed)
        return fine + np.where(np.arange(len(fine)) % 2 == 0, 1.0, -1.0)[:, None] * rng.uniform(0.5, 1.1, fine.shape)
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
            self._line(points, dark * 0.4, 2.6 + 0.6 * w, closed)
        elif hand == "impulsive":
            for _ in range(3):
                self._line(
                    points + self.rng.uniform(-1.7, 1.7, 2) + self.rng.uniform(-0.35, 0.35, points.shape),
                    dark,
                    0.65 * w,
                    closed,
                )
        elif hand == "airy":
            self._line(points, np.ones(3), 1.5 * w, closed)
        elif hand == "broken":
            dense = _resampled(points, 1.0, closed)
            for start in range(0, len(dense) - 2, 6):
                self._line(dense[start : start + 4], dark, 1.3 * w, False)
        elif hand == "echoing":
            middle = points.mean(0)
            self._line(points, dark, 0.8 * w, closed)
            spread = points - middle
            length = np.maximum(np.hypot(*spread.T), 1e-6)[:, None]
            self._line(middle + spread * (1 + 2.9 / length), light, 1.0 * w, closed)
            self._line(middle + spread * (1 + 4.6 / length), dark, 0.9 * w, closed)
        elif hand == "calligraphic":
            ring = np.concatenate([points, points[:1]]) if closed else points
            for a, b in itertools.pairwise(ring):
                swell = abs(np.sin(np.arctan2(b[1] - a[1], b[0] - a[0]) - 0.8))
                self._line(np.stack([a, b]), dark * 0.5, (0.3 + 3.4 * swell**2) * (0.7 + 0.3 * w), False)
        elif hand == "loose":
            self._line(points + np.array([2.6, -2.2]), dark, 0.95 * w, closed)
        elif hand in ("angular", "trembling"):
            self._line(points, dark, 1.0 * w, closed)


def _draw_subject(
    base: Image.Image, scene: Scene, layout: _Layout, colours: Colours, rng: np.random.Generator, unit: float
) -> np.ndarray:
    hand = scene.values.get("hand")
    width = 1.0 * 2 ** (0.75 * scene.continuous.get("stroke", 0.0))
    mask_image = Image.new("L", base.size)
    draw, mask = aggdraw.Draw(base), aggdraw.Draw(mask_image)
    pen = _Pen(draw, hand, colours, width, unit, rng)
    mirror, lean = bool(rng.random() < 0.5), float(rng.uniform(-0.06, 0.06))
    white = aggdraw.Brush("white")
    for centre in layout.centres:
        drawn = []
        for part in parts_of(scene.subject):
            points = _shaped(_placed(part, scene, layout, centre, mirror, lean), hand, part.closed, rng)
            colour = getattr(colours, part.role)
            if part.closed:
                draw.polygon(_flat(points, unit), None, aggdraw.Brush(_rgb(colour)))
                mask.polygon(_flat(points, unit), None, white)
                if part.role in ("body", "accent"):
                    drawn.append(points)
                    pen.outline(points, True)
            else:
                stroke_width = (1.5 if part.role == "dark" else 2.0) * unit * max(layout.radius / 19, 0.6)
                draw.line(_flat(points, unit), aggdraw.Pen(_rgb(colour), stroke_width))
                mask.line(_flat(points, unit), aggdraw.Pen("white", stroke_width))
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
    if composition == "spotlight":
        d = np.hypot(f.x - c.centre[0], f.y - c.centre[1])
        c.shade(-0.55 * np.clip((d - 21) / 2, 0, 1).astype(np.float32))
    before_subject(c, scene.look)
    c.mix(1 - sky, colours.ground)
    draw_setting(c, scene.setting, horizon)
    _ground_lines(c, 1 - sky, horizon)
    if composition == "spotlight":
        c.mix(np.clip(22 - np.hypot(f.x - c.centre[0], f.y - c.centre[1]), 0, 1), colours.light, 0.85)
    _paste_subject(c, scene, layout)
    if movement in WHOLE_MOVEMENTS:
        WHOLE_MOVEMENTS[movement](c)
    after_subject(c, scene.look)
    if scene.values.get("medium"):
        MEDIA[scene.values["medium"]](c)
    if scene.values.get("texture"):
        TEXTURES[scene.values["texture"]](c)
    c.image = _finish(np.clip(c.image, 0, 1), scene)
    if composition in FRAMES:
        FRAMES[composition](c)
    return (np.clip(c.image, 0, 1) * 255).round().astype(np.uint8)


def _paste_subject(c: Canvas, scene: Scene, layout: _Layout) -> None:
    base = Image.fromarray((np.clip(c.image, 0, 1) * 255).round().astype(np.uint8))
    before = c.image
    c.subject = _draw_subject(base, scene, layout, c.colours, c.rng, c.f.unit)
    _behind_subject(c, scene.look)
    painted = np.asarray(base, dtype=np.float32) / 255
    changed = np.abs(painted - np.asarray(np.clip(before, 0, 1) * 255).round() / 255).max(-1) > 1e-3
    c.image = np.where(changed[..., None], painted, c.image).astype(np.float32)


def _behind_subject(c: Canvas, look: str | None) -> None:
    """The looks that need the subject's silhouette but lie behind it."""
    if look == "look-0":
        glow = np.clip(blurred(c.subject, c.px(2)) * 2.6, 0, 1)
        c.mix(glow, np.array([1.0, 0.93, 0.45], np.float32), 0.9)
    elif look == "look-3":
        slid = np.roll(c.subject, (c.px(3), c.px(9)), (0, 1))
        c.shade(-0.6 * slid)
    elif look == "look-7":
        ghost = np.clip(np.roll(c.subject, (-c.px(7), -c.px(8)), (0, 1)), 0, 1)
        c.mix(ghost, c.colours.accent, 0.5)
