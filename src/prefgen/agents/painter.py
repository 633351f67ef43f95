"""The procedural painter: one scene in, one picture out, the same on every machine for the same seed."""

from __future__ import annotations

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
from prefgen.agents.pen import Pen, flat, rgb, shaped
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
            (part, shaped(_placed(part, scene, layout, centre, mirror, lean), hand, part.closed))
            for part in parts_of(scene.subject)
        ]
        for centre in layout.centres
    ]
    return _Drawing(copies=copies, radius=layout.radius)


def _draw_subject(base: Image.Image, drawing: _Drawing, colours: Colours, unit: float, pen: Pen | None) -> np.ndarray:
    """Fills every part, outlined by `pen` if there is one; returns the subject's coverage float32 [h, w]."""
    mask_image = Image.new("L", base.size)
    draw, mask = pen.draw if pen else aggdraw.Draw(base), aggdraw.Draw(mask_image)
    white = aggdraw.Brush("white")
    for copy in drawing.copies:
        for part, points in copy:
            colour = getattr(colours, part.role)
            if part.closed:
                draw.polygon(flat(points, unit), None, aggdraw.Brush(rgb(colour)))
                mask.polygon(flat(points, unit), None, white)
                if pen and part.role in ("body", "accent"):
                    pen.outline(points, True)
            else:
                stroke_width = (1.5 if part.role == "dark" else 2.0) * unit * max(drawing.radius / 19, 0.6)
                draw.line(flat(points, unit), aggdraw.Pen(rgb(colour), stroke_width))
                mask.line(flat(points, unit), aggdraw.Pen("white", stroke_width))
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
    plain_pen = Pen(aggdraw.Draw(base), None, colours, width, unit, c.rng) if hand is None else None
    c.subject = _draw_subject(base, drawing, colours, unit, plain_pen)
    painted = np.asarray(base, dtype=np.float32) / 255
    changed = np.abs(painted - under / 255).max(-1) > 1e-3
    c.image = np.where(changed[..., None], painted, c.image).astype(np.float32)
    if hand is None or hand == "restrained":
        return None
    lined = Image.fromarray(under)
    _draw_subject(lined, drawing, colours, unit, Pen(aggdraw.Draw(lined), hand, colours, width, unit, c.rng))
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
