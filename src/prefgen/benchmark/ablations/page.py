"""One self-contained page: each question with its plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from prefgen.benchmark.ablations.asking import Titled
from prefgen.benchmark.ablations.curve_plot import curve_plot
from prefgen.benchmark.interval_plot import interval_plot
from prefgen.benchmark.results import Row

LEGENDS: dict[str, str] = {
    "over_prompt_worded": "taste with words, over prompt",
    "over_prompt_wordless": "taste without, over prompt",
    "over_prompt": "both, over prompt",
    "subject_accuracy_of_prompt": "subject right, of prompt's",
    "disliked_shown": "disliked words shown",
    "asked_shown": "disliked word of the prompt shown",
    "asked_shown_alone": "the same, likes silent",
    "asked_subject": "subject right, likes silent",
    "two_modes_both": "both tastes there",
    "two_modes_blend": "blends",
    "coverage": "coverage",
    "diversity": "diversity",
    "liked_places": "liked less disliked places",
    "choice": "liked place chosen (chance 0.5)",
    "influence": "likelihood lost",
    "utility_total": "utility, all opinions",
    "utility_worded": "utility, with words",
    "utility_wordless": "utility, without",
    "subject_accuracy": "subject right",
    "retrieval_top1": "own string found among 50 (over seeds)",
    "mmd2": "MMD² to the strings (over seeds)",
    "cka_between_seeds": "CKA between seeds",
    "yes_no_simulated": "simulated people",
    "yes_no_style": "designers: styles",
    "yes_no_subject": "designers: subjects",
    "yes_no_picks": "designers: pairs of one prompt",
}
"""Figures that are drawn, and how they are called."""
NOT_ON_CURVES = ("over_prompt",)
OF_THEIR_OWN = ("diversity",)
"""Figures on another scale than shares and utilities: their curves get a plot to themselves."""
COLOURS = ("#0b62c4", "#c4580b", "#2e9e5b", "#8e44ad", "#7f8c8d", "#c0392b", "#16a085", "#b7950b")


UNTRAINED = (
    "Nothing is trained anew. Every variant painted the same prompts from the same seeds; bars and bands are 95 % "
    "bootstrap intervals over people."
)


def write_page(
    path: Path,
    questions: Sequence[Titled],
    rows: Sequence[Row],
    result: Mapping[str, Any],
    note: str = UNTRAINED,
) -> None:
    """Writes the page to `path`. `result` is the run's JSON, `note` what is said of all questions."""
    report = files("prefgen.benchmark").joinpath("report.html").read_text()
    style = report[report.index("<style>") : report.index("</style>")]
    colours = "".join(
        f"g.c{k} polyline, g.c{k} circle {{ stroke: {c}; }} g.c{k} text, g.c{k} circle {{ fill: {c}; }} "
        f"g.c{k} polygon {{ fill: {c}; }}\n"
        for k, c in enumerate(COLOURS)
    )
    facts = {
        "people": f"{result['n_users']} of the benchmark's; others are made up where a question is about one kind",
        "commit": str(result["commit"])[:12],
        "weights": str(result["weights_sha256"])[:12],
        "command": result["command"],
    }
    told = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    body = "".join(_section(question, rows) for question in questions)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>PrefGen ablations</title>\n'
        f"{style}polyline {{ fill: none; stroke-width: 2; }} polygon {{ opacity: 0.13; stroke: none; }}\n"
        f"{colours}</style>\n"
        "<h1>Questions about PrefGen</h1>\n"
        f'<p class="note">{escape(note)}</p>\n'
        f"<dl>{told}</dl>\n{body}</html>\n"
    )


def figures_by_metric(question: Titled, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """A question's drawn figures, in the order of `LEGENDS`."""
    found = {metric: [r for r in rows if r.metric == f"{metric}@{question.name}"] for metric in LEGENDS}
    return {metric: of for metric, of in found.items() if of}


def _section(question: Titled, rows: Sequence[Row]) -> str:
    figures = figures_by_metric(question, rows)
    if question.places is not None:
        plots = [[m for m in figures if m not in NOT_ON_CURVES + OF_THEIR_OWN], *([m] for m in OF_THEIR_OWN)]
        drawn = "".join(
            curve_plot({LEGENDS[metric]: figures[metric] for metric in metrics if metric in figures}, question.places)
            for metrics in plots
        )
    else:
        drawn = "".join(
            f"<figure><figcaption>{escape(LEGENDS[metric])}</figcaption>{interval_plot(of)}</figure>"
            for metric, of in figures.items()
        )
    return f"<section><h2>{escape(question.title)}</h2>{drawn}{_differences(question, rows)}</section>\n"


def _differences(question: Titled, rows: Sequence[Row]) -> str:
    lines = []
    for r in rows:
        if r.metric.startswith("above:") and r.metric.endswith(f"@{question.name}"):
            rival = r.metric.removeprefix("above:").rsplit("@", 1)[0]
            told = f"{r.value:+.3f} ({r.low:+.3f} to {r.high:+.3f})"
            lines.append(f"<li><b>{escape(r.method)}</b> less <b>{escape(rival)}</b>: {told}</li>")
    return f'<ul class="note">{"".join(lines)}</ul>' if lines else ""
