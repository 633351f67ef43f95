"""Figures with their intervals as a small SVG: one line a method, a dot, a bar from low to high."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from prefgen.benchmark.results import Row

ROW_PX, LABEL_PX, PLOT_PX, VALUE_PX = 26, 210, 400, 150


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps values to pixels."""

    low: float
    high: float

    def x(self, value: float) -> float:
        """The place of a value; beyond either end, that end."""
        share = (value - self.low) / (self.high - self.low)
        return LABEL_PX + PLOT_PX * min(1.0, max(0.0, share))

    def ticks(self) -> list[float]:
        """Round numbers inside, four to nine of them."""
        rough = (self.high - self.low) / 5
        unit = 10 ** math.floor(math.log10(rough))
        step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [round(k * step, 10) for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale_of(rows: Sequence[Row]) -> Scale:
    """Room for every finite figure and for 0."""
    ends = [x for r in rows for x in (r.value, r.low, r.high) if math.isfinite(x)] + [0.0]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 0.5
    return Scale(low=low - margin, high=high + margin)


def interval_plot(rows: Sequence[Row], ours: str = "prefgen") -> str:
    """An `<svg>` of one metric's rows in their order; `ours` stands out. Empty without a finite figure."""
    rows = [r for r in rows if math.isfinite(r.value)]
    if not rows:
        return ""
    scale = scale_of(rows)
    height = ROW_PX * (len(rows) + 1)
    width = LABEL_PX + PLOT_PX + VALUE_PX
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" class="plot">']
    for tick in scale.ticks():
        x = scale.x(tick)
        kind = "zero" if tick == 0 else "tick"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - ROW_PX + 2}"/>')
        parts.append(f'<text class="axis" x="{x:.1f}" y="{height - 8}">{tick:g}</text>')
    for k, one in enumerate(rows):
        y = ROW_PX * (k + 0.5) + 2
        kind = "ours" if one.method == ours else "other"
        parts.append(f'<text class="name {kind}" x="{LABEL_PX - 10}" y="{y + 4:.1f}">{escape(one.method)}</text>')
        low, high = (end if math.isfinite(end) else one.value for end in (one.low, one.high))
        parts.append(f'<line class="bar {kind}" x1="{scale.x(low):.1f}" x2="{scale.x(high):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="{kind}" cx="{scale.x(one.value):.1f}" cy="{y}" r="4"/>')
        told = f"{one.value:.2f} [{low:.2f}, {high:.2f}]"
        parts.append(f'<text class="value" x="{LABEL_PX + PLOT_PX + 10}" y="{y + 4:.1f}">{told}</text>')
    return "".join([*parts, "</svg>"])
