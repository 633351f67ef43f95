"""What a training on people's own pictures did for them: figures before and after, with intervals, in one JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.benchmark.statistics import Estimate, mean_interval
from prefgen.history.splits import Split
from prefgen.recipes.own_data.conversations import examined_people
from prefgen.recipes.own_data.features import People
from prefgen.recipes.own_data.judging import which_of_two, yes_or_no
from prefgen.recipes.own_data.personal import Painter, flow_of_people
from prefgen.recipes.own_data.preferences import Judge
from prefgen.recipes.own_data.settings import OwnDataPreset
from prefgen.recipes.own_data.states import States

REPORT = "training_report.json"
BETTER = {"which_of_two": 1, "yes_no": 1, "which_of_two_by_language_model": 1, "flow_loss": -1}
"""Every figure, and whether more of it is better or less."""

LEAST_JUDGED = 10
"""People from whom on an interval is believed: of fewer, resampling says too little of what others would do."""
UNTOLD = "too few people to tell"
KEPT = "The model is kept either way; more people may help it."
DEAF = "What they liked is still painted with less loss when nobody is heard."

Figures = dict[str, np.ndarray]
"""float64 [n_people] by figure."""


def figures_of(model: Path, people: People, states: States | None, p: OwnDataPreset) -> Figures:
    """What a model folder reaches, person by person; the flow loss where `states` (by this model) are given."""
    found: Figures = {}
    if exams := examined_people(people, p.evaluated_people):
        judge = Judge.of(model)
        heard = judge.heard(people, exams)
        odds = judge.weighing.log_odds(heard)
        found["which_of_two"], found["yes_no"] = which_of_two(odds), yes_or_no(odds, heard.likes)
        found["which_of_two_by_language_model"] = which_of_two(heard.said)
    if states is not None and len(people.paintable):
        painter = Painter.of(model, model)
        found["flow_loss"] = flow_of_people(painter, states, p)
        found["flow_loss_hearing_nobody"] = flow_of_people(painter, states, p, heard=False)
        found["flow_loss_by_hearing"] = found["flow_loss"] - found["flow_loss_hearing_nobody"]
    return found


def compared(before: Figures, after: Figures) -> dict[str, dict[str, Any]]:
    """Each figure's mean before and after and their difference, with 95 % intervals over people, and a verdict."""
    table: dict[str, dict[str, Any]] = {}
    for name in before:
        estimates = {"before": before[name], "after": after[name], "difference": after[name] - before[name]}
        table[name] = {key: _told(mean_interval(values)) for key, values in estimates.items()}
        if name in BETTER:
            table[name]["verdict"] = verdict(mean_interval(after[name] - before[name]), BETTER[name])
    return table


def _told(estimate: Estimate) -> dict[str, Any]:
    return {key: round(value, 6) if key != "n" else value for key, value in asdict(estimate).items()}


def verdict(difference: Estimate, sign: int) -> str:
    """`better` or `worse` where the interval leaves out 0, else `no clear change`; or that too few were asked."""
    if difference.n < LEAST_JUDGED:
        return UNTOLD
    low, high = sorted((sign * difference.low, sign * difference.high))
    return "better" if low > 0 else "worse" if high < 0 else "no clear change"


def lines_of(tables: Mapping[Split, Mapping[str, Mapping[str, Any]]]) -> Iterable[str]:
    """The report for a person to read."""
    for split, table in tables.items():
        seen = " (chosen and calibrated on them)" if split == "validation" else " (never looked at before)"
        yield f"{split} people{seen}"
        for name, row in table.items():
            if name in BETTER:
                before, after, difference = (row[key] for key in ("before", "after", "difference"))
                change = f"{difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
                yield (
                    f"  {name:<31} {before['value']:.4f} -> {after['value']:.4f}  {change}  n={after['n']}  "
                    f"{row['verdict']}"
                )
    yield told_plainly(tables)


def told_plainly(tables: Mapping[Split, Mapping[str, Mapping[str, Any]]]) -> str:
    """Whether the training helped, in a sentence or two. Test people count where there are `LEAST_JUDGED`, else
    validation people."""
    order: tuple[Split, ...] = ("test", "validation")
    judged: list[tuple[Split, dict[str, Any]]] = [
        (split, rows) for split in order if (rows := _judged(tables.get(split, {})))
    ]
    if not judged:
        return f"Whether the training helped cannot be told: it takes {LEAST_JUDGED} test or validation people. {KEPT}"
    split, rows = judged[0]
    better, worse = ([name for name, row in rows.items() if row["verdict"] == said] for said in ("better", "worse"))
    but = f"; worse: {', '.join(worse)}" if worse else ""
    hearing = tables[split].get("flow_loss_by_hearing", {}).get("after", {"low": 0.0})
    deaf = f" {DEAF}" if hearing["low"] > 0 else ""
    if not better:
        return f"The training did not clearly help on {split} people{but}.{deaf} {KEPT}"
    return f"The training helped on {split} people: {', '.join(better)}{but}.{deaf}"


def _judged(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {name: row for name, row in table.items() if row.get("verdict", UNTOLD) != UNTOLD}
