"""What the probes found, as JSON and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefgen.core import DataError, InputError, PrefGenError
from prefgen.probing.choose import LayerChoice
from prefgen.probing.curve import ProbeCurve, check_keys

VERSION = 1
INK, CORE, SEM, QUIET = "#1f2933", "#2f6db3", "#c4622d", "#8a94a0"


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """Both curves (each with intervals, control, number of users and seed) and the layers chosen from them."""

    inter: ProbeCurve
    intra: ProbeCurve
    choice: LayerChoice

    @property
    def n_users(self) -> dict[str, int]:
        """How many users each probe saw."""
        return {"inter": self.inter.n_users, "intra": self.intra.n_users}

    @property
    def seeds(self) -> dict[str, int]:
        """The seed of each probe's folds, shuffles and bootstrap."""
        return {"inter": self.inter.seed, "intra": self.intra.seed}

    def to_json(self) -> dict[str, Any]:
        """A dict ready for `json.dumps`, with its layout's version."""
        parts = {"inter": self.inter.to_json(), "intra": self.intra.to_json(), "choice": self.choice.to_json()}
        return {"version": VERSION, "n_users": self.n_users, "seeds": self.seeds, **parts}

    @classmethod
    def from_json(cls, data: Any) -> ProbeReport:
        """The report that `to_json` wrote. Raises `DataError` for another layout or version."""
        check_keys(data, ("version", "n_users", "seeds", "inter", "intra", "choice"), what="a probe report")
        if data["version"] != VERSION:
            raise DataError(f"expected a probe report of version {VERSION}, got {data['version']!r}")
        curves = {probe: ProbeCurve.from_json(data[probe]) for probe in ("inter", "intra")}
        return cls(**curves, choice=LayerChoice.from_json(data["choice"]))


def plot_report(report: ProbeReport, path: str | Path) -> Path:
    """Draws both curves with their intervals (shaded), controls (dashed), chance (dotted) and the chosen layers.

    The ending of `path` decides the format (png, pdf, svg). Needs the `plot` extra; without it, or for an ending that
    cannot be written, a `PrefGenError`.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator, PercentFormatter
    except ImportError as error:
        raise PrefGenError("drawing needs matplotlib", hint="pip install 'prefgen[plot]'") from error
    path = Path(path)
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    if path.suffix.lstrip(".").lower() not in figure.canvas.get_supported_filetypes():
        raise InputError(f"expected a picture's file name such as probes.png, got {path.name!r}")
    left, right = figure.subplots(1, 2)
    inter, intra, choice = report.inter, report.intra, report.choice
    title = f"Inter-user: which of {inter.n_users} people is this?"
    _draw_curve(left, inter, choice.e_core, "e_core", CORE, title)
    title = f"Intra-user: liked or disliked? ({intra.n_users} held-out people)"
    _draw_curve(right, intra, choice.e_sem, "e_sem", SEM, title)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def _draw_curve(axes: Any, curve: ProbeCurve, chosen: tuple[int, ...], part: str, colour: str, title: str) -> None:
    layers = range(curve.n_layers)
    for count, layer in enumerate(chosen):
        axes.axvspan(
            layer - 0.5, layer + 0.5, color=colour, alpha=0.09, lw=0, label=None if count else f"{part} layers"
        )
    axes.fill_between(layers, curve.low, curve.high, color=INK, alpha=0.18, lw=0, label="95 % interval")
    axes.plot(layers, curve.accuracy, color=INK, lw=1.8, label="held out")
    scores = [curve.accuracy[layer] for layer in chosen]
    axes.plot(chosen, scores, "o", color=colour, ms=6, zorder=3)
    axes.fill_between(layers, curve.control_low, curve.control_high, color=QUIET, alpha=0.18, lw=0)
    axes.plot(layers, curve.control, "--", color=QUIET, lw=1.4, label="shuffled labels")
    axes.axhline(curve.chance, color=QUIET, lw=1, ls=":", label=f"chance {curve.chance:.1%}")
    axes.set(title=title, xlabel="hidden state (0 = embeddings)", ylabel="accuracy", xlim=(-0.5, curve.n_layers - 0.5))
    axes.set_ylim(min(0.0 if curve.chance < 0.3 else 0.3, min(curve.control_low), min(curve.low)), 1.03)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
