"""One self-contained page of a run: tables, intervals, and the pictures a person would want to look at."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prefgen.benchmark.interval_plot import interval_plot
from prefgen.benchmark.methods import METHODS, Method
from prefgen.benchmark.results import Results, Row

OURS = "prefgen"
N_PEOPLE, N_EACH = 8, 2
"""People whose pictures are shown, and pictures a method for each."""
TOLD_THE_TRUTH = "truth"
CONTROLS = ("prompt", "other_user")
COLUMNS: dict[str, str] = {
    "utility": "utility",
    "gain": "gain",
    "gain_wordless": "gain, wordless",
    "win_rate": "win rate",
    "identification_top1": "identified",
    "prefdisc": "PrefDisc",
    "style_judge_features_liked_minus_disliked": "style, likes less dislikes",
    "clip_i_of_the_model_liked_minus_disliked": "CLIP-I, likes less dislikes",
    "kid_judge_features": "KID, judge's features",
    "cmmd_clip_of_the_model": "CMMD, own CLIP",
    "subject_accuracy": "subject right",
    "clip_t_of_the_model": "CLIP-T, own CLIP",
    "diversity": "diversity",
    "coverage": "coverage",
    "seconds_per_image": "seconds",
    "network_calls_per_step": "calls a step",
    "peak_memory_mib": "memory, MiB",
    "training_minutes_per_person": "training a person, minutes",
}
"""Metrics of the main table, and their headings."""
DISTANCES = ("kid_judge_features", "cmmd_clip_of_the_model")
COSTS = ("seconds_per_image", "network_calls_per_step", "peak_memory_mib", "training_minutes_per_person")
"""Of distances the lowest is best; of costs none is said to be, since they buy something."""
NOT_RUN = "not run here"
"""How the metric of a row begins that stands for a method, or for data, without figures."""
PLOTS: dict[str, str] = {
    "gain": "Gain on taste that has words: 0 is the prompt alone, 1 the oracle",
    "gain_wordless": "Gain on taste that has no word: 0 is the prompt alone, 1 the painter's own pictures",
    "prefdisc": "PrefDisc: how often a picture ranks a held-out liked one above a disliked one (chance 0.5)",
}


def write_report(
    path: Path, results: Results, rows: Sequence[Row], report: Mapping[str, Any], methods: Sequence[Method]
) -> None:
    """Writes the page to `path`. `report` is the run's JSON without its rows' detail."""
    page = files("prefgen.benchmark").joinpath("report.html").read_text()
    told = {
        "summary": _summary(report, results),
        "table": _table(rows, methods),
        "claims": _claims(rows),
        "plots": "".join(_plot(rows, metric, title) for metric, title in PLOTS.items()),
        "people": "".join(_person(results, user) for user in range(min(N_PEOPLE, len(results.cases)))),
        "absent": _absent(rows),
        "rows": _all_rows(rows),
    }
    for name, value in told.items():
        page = page.replace(f"<!--{name}-->", value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


def _summary(report: Mapping[str, Any], results: Results) -> str:
    facts = {
        "people": report["n_users"],
        "pictures a method": len(results.tasks),
        "seeds": ", ".join(map(str, report["seeds"])),
        "commit": str(report["commit"])[:12],
        "weights": str(report["weights_sha256"])[:12],
        "command": report["command"],
    }
    return "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())


def _figure(value: float) -> str:
    if not math.isfinite(value):
        return "n/a"
    return f"{value:.4f}" if 0 < abs(value) < 0.01 else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def _cell(row: Row | None, best: bool) -> str:
    if row is None:
        return "<td></td>"
    interval = ""
    if math.isfinite(row.low) and math.isfinite(row.high):
        interval = f"<small>{_figure(row.low)} to {_figure(row.high)}</small>"
    return f"<td{' class=best' if best else ''}>{_figure(row.value)}{interval}</td>"


def _table(rows: Sequence[Row], methods: Sequence[Method]) -> str:
    """Methods by metrics, then those that could not run, with the reason. The best preference figure of a method that
    is not told the truth is set bold: a reading aid, no claim."""
    found = {(r.method, r.metric): r for r in rows}
    columns = {m: title for m, title in COLUMNS.items() if any((one.name, m) in found for one in methods)}
    best = {m: _best(found, m, methods) for m in columns if m not in COSTS}
    head = "".join(f"<th>{escape(title)}</th>" for title in columns.values())
    body = ""
    for one in methods:
        cells = "".join(_cell(found.get((one.name, m)), best.get(m) == one.name) for m in columns)
        needs = escape(", ".join(one.needs) or "nothing")
        kind = " class=ours" if one.name == OURS else " class=told" if _is_control(one) else ""
        body += f"<tr{kind}><th scope=row>{escape(one.name)}</th><td class=needs>{needs}</td>{cells}</tr>"
    for one in (r for r in rows if r.metric.startswith(NOT_RUN) and r.method in METHODS):
        reason = f"<td colspan={1 + len(columns)}>{escape(one.metric)}</td>"
        body += f"<tr class=absent><th scope=row>{escape(one.method)}</th>{reason}</tr>"
    return f"<table><thead><tr><th>method</th><th>needs</th>{head}</tr></thead><tbody>{body}</tbody></table>"


def _is_control(method: Method) -> bool:
    return TOLD_THE_TRUTH in method.needs or method.name in CONTROLS


def _best(found: Mapping[tuple[str, str], Row], metric: str, methods: Sequence[Method]) -> str | None:
    fair = [m.name for m in methods if not _is_control(m)]
    given = {m: found[m, metric].value for m in fair if (m, metric) in found and math.isfinite(found[m, metric].value)}
    return (min if metric in DISTANCES else max)(given, key=lambda m: given[m]) if given else None


def _claims(rows: Sequence[Row]) -> str:
    """What may be said of our method against each rival: differences of total utility, corrected together."""
    found = {r.metric: r for r in rows if r.method == OURS}
    lines = []
    for metric, row in found.items():
        if not metric.startswith("utility_above:"):
            continue
        rival = metric.split(":", 1)[1]
        p = found.get(f"utility_above_p_holm:{rival}")
        verdict = "above" if row.low > 0 else "below" if row.high < 0 else "level with"
        corrected = f", Holm-corrected p = {p.value:.3f}" if p is not None else ""
        interval = f"{row.value:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        lines.append(f"<li>{verdict} <b>{escape(rival)}</b>: {interval}{corrected}</li>")
    return f"<ul>{''.join(lines)}</ul>" if lines else "<p>Our method or its rivals were not in this run.</p>"


def _plot(rows: Sequence[Row], metric: str, title: str) -> str:
    drawn = interval_plot([r for r in rows if r.metric == metric], OURS)
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawn}</figure>" if drawn else ""


def _image(picture: np.ndarray | Image.Image, told: str, kind: str = "") -> str:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    encoded = io.BytesIO()
    image.convert("RGB").save(encoded, format="JPEG", quality=90, subsampling=0)
    data = base64.b64encode(encoded.getvalue()).decode()
    return f'<img class="{kind}" src="data:image/jpeg;base64,{data}" alt="{escape(told)}" title="{escape(told)}">'


def _person(results: Results, user: int) -> str:
    case = results.cases[user]
    places = results.tasks_of(user)[:N_EACH]
    likes = "".join(_image(p, "liked", "liked") for p in case.shelf.liked)
    dislikes = "".join(_image(p, "disliked", "disliked") for p in case.shelf.disliked)
    prompts = " / ".join(dict.fromkeys(results.tasks[i].prompt for i in places))
    made = "".join(
        f"<figure><figcaption>{escape(method)}</figcaption>"
        + "".join(_image(results.pictures[method][i], f"{method}: {results.tasks[i].prompt}") for i in places)
        + "</figure>"
        for method in results.pictures
    )
    return (
        f"<section class=person><h3>Person {user + 1} <small>{escape(case.person.kind.replace('_', ' '))}</small></h3>"
        f"<div class=history>{likes}{dislikes}</div><p>“{escape(prompts)}”</p><div class=made>{made}</div></section>"
    )


def _absent(rows: Sequence[Row]) -> str:
    lines = [r for r in rows if r.metric.startswith(NOT_RUN)]
    return "".join(f"<li><b>{escape(r.method)}</b>: {escape(r.metric)}</li>" for r in lines)


def _all_rows(rows: Sequence[Row]) -> str:
    def line(r: Row) -> str:
        told = (r.method, r.metric, *map(_figure, (r.value, r.low, r.high)), str(r.n))
        return "<tr>" + "".join(f"<td>{escape(x)}</td>" for x in told) + "</tr>"

    head = "".join(f"<th>{x}</th>" for x in ("method", "metric", "value", "low", "high", "n"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(line, rows))}</tbody></table>"
