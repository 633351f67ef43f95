"""Figures along an amount as a small SVG: a line for each figure, a band from low to high."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from prefgen.benchmark.interval_plot import scale_of
from prefgen.benchmark.results import Row

WIDTH_PX, HEIGHT_PX, LEFT_PX, BOTTOM_PX, LEGEND_PX = 560, 260, 48, 30, 240


def curve_plot(curves: Mapping[str, Sequence[Row]], places: Mapping[str, float]) -> str:
    """An `<svg>` with a curve for each legend; rows stand at `places[row.method]`. Empty without a finite figure."""
    drawn = {k: [r for r in rows if math.isfinite(r.value) and r.method in places] for k, rows in curves.items()}
    drawn = {k: sorted(rows, key=lambda r: places[r.method]) for k, rows in drawn.items() if rows}
    if not drawn:
        return ""
    across = [places[r.method] for rows in drawn.values() for r in rows]
    first, last = min(across), max(across)
    scale = scale_of([r for rows in drawn.values() for r in rows])

    def x(value: float) -> float:
        return LEFT_PX + (WIDTH_PX - LEFT_PX - 10) * (value - first) / ((last - first) or 1)

    def y(value: float) -> float:
        return (HEIGHT_PX - BOTTOM_PX) * (1 - (value - scale.low) / (scale.high - scale.low)) + 5

    parts = [f'<svg viewBox="0 0 {WIDTH_PX + LEGEND_PX} {HEIGHT_PX}" role="img" class="plot">']
    for tick in scale.ticks():
        kind = "zero" if tick == 0 else "tick"
        parts.append(f'<line class="{kind}" x1="{LEFT_PX}" x2="{WIDTH_PX}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="name" x="{LEFT_PX - 6}" y="{y(tick) + 4:.1f}">{tick:g}</text>')
    for value in sorted(set(across)):
        parts.append(f'<text class="axis" x="{x(value):.1f}" y="{HEIGHT_PX - 8}">{value:g}</text>')
    for k, (legend, rows) in enumerate(drawn.items()):
        parts.append(f'<g class="curve c{k}">{_curve(rows, places, x, y)}')
        parts.append(f'<text x="{WIDTH_PX + 14}" y="{22 + 18 * k}">{escape(legend)}</text></g>')
    return "".join([*parts, "</svg>"])


def _curve(
    rows: Sequence[Row], places: Mapping[str, float], x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    points = [(x(places[r.method]), r) for r in rows]
    spoken = [(at, r) for at, r in points if math.isfinite(r.low) and math.isfinite(r.high)]
    upper = [f"{at:.1f},{y(r.high):.1f}" for at, r in spoken]
    lower = [f"{at:.1f},{y(r.low):.1f}" for at, r in reversed(spoken)]
    line = " ".join(f"{at:.1f},{y(r.value):.1f}" for at, r in points)
    dots = ""
    for at, r in points:
        told = f"<title>{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]</title>"
        dots += f'<circle cx="{at:.1f}" cy="{y(r.value):.1f}" r="3">{told}</circle>'
    return f'<polygon points="{" ".join(upper + lower)}"/><polyline points="{line}"/>{dots}'
