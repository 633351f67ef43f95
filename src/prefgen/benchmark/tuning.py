"""Tuned numbers: eight points for every method, on validation people, read by the validation judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.benchmark.judge import PictureJudge
from prefgen.benchmark.methods import METHODS, Bench, Method, Parameters
from prefgen.benchmark.population import Member
from prefgen.benchmark.results import Results
from prefgen.benchmark.tasks import cases_of, tasks_of
from prefgen.core import InputError, nearest_hint

TUNING_PATH = Path(__file__).with_name("tuning.json")
LEAST_SUBJECT_ACCURACY = 0.97
SUBJECT_NOISE = 0.05
"""A point is chosen among those whose subject accuracy, as a share of the prompt's, is at least the first number, or
within the second of the best point's: a sweep's few dozen pictures tell it no better."""

_GUIDANCE = tuple({"guidance_scale": g} for g in (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.5))
_SHARED_ATTENTION = tuple(
    {"guidance_scale": g, "like_strength": s}
    for g, s in ((2.0, 1.0), (3.0, 0.6), (3.0, 1.0), (3.0, 1.4), (4.0, 0.6), (4.0, 1.0), (4.0, 1.4), (5.5, 1.0))
)
_ADAPTER = tuple(
    {"guidance_scale": g, "like_strength": s, "user_start": b}
    for g, s, b in (
        (3.0, 0.6, 0.0),
        (3.0, 1.0, 0.0),
        (4.0, 0.8, 0.0),
        (4.0, 0.8, 0.125),
        (4.0, 1.0, 0.125),
        (4.0, 1.4, 0.125),
        (4.0, 1.0, 0.1875),
        (4.0, 1.4, 0.1875),
    )
)
_VARIETY = 0.4
"""Share of pictures that show one facet of a taste: given, not swept. It costs utility and buys coverage and both
tastes of who has two, which no sweep asks for (dev/LOG.md, section 8)."""
_OURS = tuple(
    {
        "guidance_scale": g,
        "like_strength": s,
        "dislike_strength": d,
        "user_start": b,
        "user_end": e,
        "variety": _VARIETY,
    }
    for g, s, d, b, e in (
        (4.0, 0.65, 0.25, 0.0, 1.0),
        (4.0, 0.8, 0.3, 0.0, 1.0),
        (4.0, 0.9, 0.35, 0.0625, 0.75),
        (4.0, 0.9, 0.35, 0.125, 1.0),
        (4.0, 1.0, 0.4, 0.125, 0.75),
        (4.0, 1.0, 0.4, 0.1875, 1.0),
        (3.0, 1.0, 0.4, 0.1875, 1.0),
        (4.0, 1.2, 0.4, 0.1875, 0.75),
    )
)
_INSTANTSTYLE = tuple(
    {"guidance_scale": g, "like_strength": s, "up_block": b, "content_strength": c}
    for g, s, b, c in (
        (3.0, 1.0, 0, 1.0),
        (3.0, 1.6, 0, 1.0),
        (3.0, 1.0, 1, 1.0),
        (3.0, 1.6, 1, 1.0),
        (3.0, 1.0, -1, 1.0),
        (3.0, 1.4, -1, 1.0),
        (3.0, 1.0, -1, 0.5),
        (4.0, 1.0, -1, 1.0),
    )
)
_WORDS = tuple(
    {"guidance_scale": g, "n_words": n}
    for g, n in ((2.0, 4), (3.0, 2), (3.0, 4), (3.0, 6), (4.0, 2), (4.0, 4), (4.0, 6), (5.5, 4))
)
_TEXT_MEAN = tuple(
    {"guidance_scale": g, "strength": s, "n_words": 4}
    for g, s in ((2.0, 1.0), (3.0, 0.5), (3.0, 1.0), (3.0, 2.0), (4.0, 0.5), (4.0, 1.0), (4.0, 2.0), (5.5, 1.0))
)
_VIPER = tuple(
    {"guidance_scale": g, "degree": d, "n_words": n}
    for g, d, n in (
        (2.0, 0.85, 4),
        (3.0, 0.4, 4),
        (3.0, 0.85, 2),
        (3.0, 0.85, 4),
        (3.0, 0.85, 6),
        (4.0, 0.4, 4),
        (4.0, 0.85, 4),
        (5.0, 0.85, 4),
    )
)
_FABRIC = tuple(
    {"guidance_scale": g, "like_strength": s, "dislike_strength": d}
    for g, s, d in (
        (2.0, 0.5, 0.25),
        (3.0, 0.25, 0.1),
        (3.0, 0.5, 0.25),
        (3.0, 1.0, 0.0),
        (3.0, 1.0, 0.5),
        (4.0, 0.5, 0.25),
        (4.0, 1.0, 0.5),
        (5.5, 0.5, 0.25),
    )
)
_BEST_OF_N = tuple({"guidance_scale": g, "n": 4, "c": c} for g in (2.0, 3.0, 4.0, 5.5) for c in (0.01, 0.3))
_LORA = tuple(
    {"guidance_scale": g, "like_strength": s, "rank": r, "n_steps": n, "learning_rate": rate}
    for g, s, r, n, rate in (
        (3.0, 1.0, 8, 200, 1e-3),
        (4.0, 1.0, 8, 200, 1e-3),
        (3.0, 1.0, 8, 400, 1e-3),
        (4.0, 1.0, 8, 400, 1e-3),
        (3.0, 0.7, 8, 400, 1e-3),
        (3.0, 1.0, 8, 400, 3e-4),
        (4.0, 1.0, 8, 400, 3e-4),
        (3.0, 1.0, 32, 400, 1e-3),
    )
)
"""Four trainings a person, of which the first and the third are painted in several ways."""
SWEEPS: dict[str, tuple[Parameters, ...]] = {
    "oracle": _GUIDANCE,
    "oracle_history": _GUIDANCE,
    "prefgen": _OURS,
    "e_img_only": _OURS,
    "ip_adapter": _ADAPTER,
    "ip_adapter_user": _ADAPTER,
    "instantstyle": _INSTANTSTYLE,
    "stylealigned": _SHARED_ATTENTION,
    "fabric": _FABRIC,
    "viper": _VIPER,
    "rewrite": _WORDS,
    "text_mean": _TEXT_MEAN,
    "best_of_n": _BEST_OF_N,
    "easyref": _ADAPTER,
    "lora": _LORA,
}
"""Eight points a method. The prompt keeps the model's own guidance, `other_user` is painted as `prefgen` is, the
painter has no generator, and `bagel` is never run."""

WORDED = ("oracle", "oracle_history")
"""Methods that are told words only are tuned for worded utility, the others for all of it."""


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One tried point: what it is worth, and how often the subject was right as a share of the prompt's."""

    parameters: Parameters
    utility: float
    subject_accuracy_of_prompt: float


def tuned_parameters(name: str, path: Path = TUNING_PATH) -> dict[str, float]:
    """The chosen numbers of a method, as committed; none for a method without any."""
    table = json.loads(path.read_text()) if path.exists() else {}
    entry = table.get("prefgen" if name == "other_user" else name, {})
    return {key: float(value) for key, value in entry.get("parameters", {}).items()}


def best_point(points: Sequence[SweepPoint]) -> SweepPoint:
    """The point of most utility among those that keep the subject, or come as near to it as any does."""
    best = max(p.subject_accuracy_of_prompt for p in points)
    least = min(LEAST_SUBJECT_ACCURACY, best - SUBJECT_NOISE)
    return max((p for p in points if p.subject_accuracy_of_prompt >= least), key=lambda p: p.utility)


def _measured(method: Method, results: Results, judge: PictureJudge, taste: str) -> tuple[float, float]:
    pictures = np.stack(method.paint(results.tasks))
    readings = {method.name: judge.read(pictures)}
    whole = Results(cases=results.cases, tasks=results.tasks, pictures={}, readings=readings)
    seen = whole.readings[method.name].answers("subject")
    hits = np.array([float(s == t.subject) for s, t in zip(seen, whole.tasks)])
    worth = whole.by_user(getattr(whole.utility(method.name), taste))
    return float(np.nanmean(worth)), float(np.nanmean(whole.by_user(hits)))


def tune(
    name: str,
    bench: Bench,
    members: Sequence[Member],
    judge: PictureJudge,
    *,
    n_users: int = 32,
    n_prompts: int = 2,
    maker: Callable[..., Method] | None = None,
) -> tuple[dict[str, float], list[SweepPoint]]:
    """Tries a method's eight points on validation people and returns the chosen numbers and all points.

    `judge` must be the validation judge. Raises `InputError` for people of the test split or a method without a sweep.
    """
    if any(m.split != "validation" for m in members):
        raise InputError("expected validation people, got some of the test split")
    if name not in SWEEPS:
        raise InputError(f"expected a method of {list(SWEEPS)}, got {name!r}", hint=nearest_hint(name, SWEEPS))
    cases = cases_of(members[:n_users])
    results = Results(cases=cases, tasks=tasks_of(cases, n_prompts=n_prompts, n_seeds=1), pictures={}, readings={})
    taste = "worded" if name in WORDED else "total"
    _, plain = _measured(METHODS["prompt"](bench), results, judge, taste)
    points = []
    for parameters in SWEEPS[name]:
        utility, subject = _measured((maker or METHODS[name])(bench, **parameters), results, judge, taste)
        points.append(
            SweepPoint(
                parameters=parameters, utility=utility, subject_accuracy_of_prompt=subject / plain if plain else 0.0
            )
        )
    return dict(best_point(points).parameters), points


def record(name: str, parameters: Mapping[str, float], points: Sequence[SweepPoint], path: Path = TUNING_PATH) -> None:
    """Writes a method's choice and its whole sweep into the committed table."""
    table: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    sweep = [
        {
            **p.parameters,
            "utility": round(p.utility, 4),
            "subject_accuracy_of_prompt": round(p.subject_accuracy_of_prompt, 4),
        }
        for p in points
    ]
    table[name] = {"parameters": dict(parameters), "sweep": sweep}
    path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
