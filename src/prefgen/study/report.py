"""What people chose: win rates, strengths and agreement, each with its interval, and who was left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.benchmark.results import Row, row
from prefgen.benchmark.statistics import NOT_SAID, Estimate, crossed_sums, percentile_interval, share_interval
from prefgen.core import InputError
from prefgen.study.agreement import krippendorff_alpha
from prefgen.study.answers import Answer, read_answers
from prefgen.study.records import Key, Study, read_key, read_study
from prefgen.study.strength import bradley_terry, unconnected

LEAST_CHECKS = 0.75
"""Share of the attention checks they met that a rater must get right to be counted."""


@dataclass(frozen=True, kw_only=True)
class _Vote:
    """One counted answer to a pair: `score` is 1 for a, 0 for b, 0.5 for a tie."""

    rater: str
    unit: str
    question: str
    choice: str
    score: float


@dataclass(frozen=True, kw_only=True)
class _Told:
    """One study with its votes, and a line about every rater."""

    folder: Path
    study: Study
    key: Key
    votes: tuple[_Vote, ...]
    raters: tuple[dict[str, Any], ...]


def study_report(folders: Sequence[Path], *, least_checks: float = LEAST_CHECKS) -> dict[str, Any]:
    """Reports one study or several: `{"least_checks", "studies", "raters", "rows"}`, plain JSON.

    Raters are counted who got at least `least_checks` of the attention checks right that they answered (a tie is
    wrong), and answered one at all where a study has any. Rows are figures as `prefgen bench` gives them:

    * `win_rate_over:B` of A: how often A was chosen over B, a tie counting half; `tie_share:B` beside it. 95 %
      intervals resample raters and, each by itself, the people painted for (questions, where there are none); `n` is
      the number of the latter.
    * `left_share` of `raters`: how often left was chosen where a side was; far from 0.5 is a habit.
    * `krippendorff_alpha` of `raters`: agreement on left, right and tie. Sides are drawn at random, so a method
      that always wins leaves chance agreement at a half; checks do not count.
    * `bradley_terry`: log-strength of every method over all studies given, mean 0.

    Raises:
        DataError: a study, its key or its answers are damaged.
        InputError: no folder, the same study twice, or a share that is none.
    """
    if not 0 <= least_checks <= 1:
        raise InputError(f"expected a share of checks from 0 to 1, got {least_checks}")
    told = [_read(folder, least_checks) for folder in folders]
    if not told or len({one.study.id for one in told}) != len(told):
        raise InputError(
            "expected different studies, got " + ("one of them twice" if told else "none"),
            hint="answers to copies of one study belong into one answers.jsonl",
        )
    rows = [r for one in told for r in _rows(one)] + _strength_rows(told)
    return {
        "least_checks": least_checks,
        "studies": [_summary(one) for one in told],
        "raters": [{"study": one.study.id, **rater} for one in told for rater in one.raters],
        "rows": [r.to_json() for r in rows],
    }


def _read(folder: Path, least_checks: float) -> _Told:
    study = read_study(folder)
    key = read_key(folder, study)
    answers = read_answers(folder, study)
    raters = [_rater(name, answers, key, least_checks) for name in dict.fromkeys(a.rater for a in answers)]
    counted = {rater["rater"] for rater in raters if rater["left_out"] is None}
    votes = tuple(
        _Vote(
            rater=answer.rater,
            unit=asked.unit,
            question=answer.question,
            choice=answer.choice,
            score=0.5 if answer.choice == "tie" else float(answer.choice == asked.side),
        )
        for answer in answers
        if answer.rater in counted and (asked := key.questions[answer.question]).kind == "pair"
    )
    return _Told(folder=folder, study=study, key=key, votes=votes, raters=tuple(raters))


def _rater(name: str, answers: Iterable[Answer], key: Key, least_checks: float) -> dict[str, Any]:
    mine = [(key.questions[a.question], a.choice) for a in answers if a.rater == name]
    checks = [asked.side == choice for asked, choice in mine if asked.kind == "check"]
    reason = None
    if checks and sum(checks) < least_checks * len(checks):
        reason = f"{sum(checks)} of {len(checks)} checks right, expected {least_checks:.0%}"
    elif not checks and any(asked.kind == "check" for asked in key.questions.values()):
        reason = "no check answered yet"
    return {
        "rater": name,
        "n_answers": len(mine) - len(checks),
        "n_checks": len(checks),
        "n_checks_right": sum(checks),
        "left_out": reason,
    }


def _summary(told: _Told) -> dict[str, Any]:
    kinds = [asked.kind for asked in told.key.questions.values()]
    scores = [vote.score for vote in told.votes]
    return {
        "folder": str(told.folder),
        "study": told.study.id,
        "ask": told.study.ask,
        "a": told.key.a,
        "b": told.key.b,
        "seed": told.key.seed,
        "n_questions": kinds.count("pair"),
        "n_checks": kinds.count("check"),
        "n_raters": sum(rater["left_out"] is None for rater in told.raters),
        "n_left_out": sum(rater["left_out"] is not None for rater in told.raters),
        "n_a": scores.count(1.0),
        "n_b": scores.count(0.0),
        "n_ties": scores.count(0.5),
    }


def _rows(told: _Told) -> list[Row]:
    a, b, votes = told.key.a, told.key.b, told.votes
    said: dict[str, list[str]] = {}
    for vote in votes:
        said.setdefault(vote.question, []).append(vote.choice)
    sided = [vote for vote in votes if vote.choice != "tie"]
    return [
        row(a, f"win_rate_over:{b}", _share(votes, [vote.score for vote in votes])),
        row(a, f"tie_share:{b}", _share(votes, [float(vote.choice == "tie") for vote in votes])),
        row("raters", "left_share", _share(sided, [float(vote.choice == "left") for vote in sided])),
        row("raters", "krippendorff_alpha", krippendorff_alpha(said)),
    ]


def _share(votes: Sequence[_Vote], scores: Sequence[float]) -> Estimate:
    """The mean score of votes, raters and units resampled. Where all votes are for one side no resample differs, which
    must not look certain: the interval is Wilson's over the units then."""
    if not votes:
        return NOT_SAID
    raters, units = (sorted({getattr(vote, name) for vote in votes}) for name in ("rater", "unit"))
    table = np.zeros((len(raters), len(units), 2))
    for vote, score in zip(votes, scores):
        table[raters.index(vote.rater), units.index(vote.unit)] += (score, 1)
    value = float(np.mean(scores))
    if value in (0.0, 1.0):
        low, high = share_interval(round(value * len(units)), len(units))
        return Estimate(value=value, low=low, high=high, n=len(units))
    sums = crossed_sums(table)
    drawn = sums[sums[:, 1] > 0]
    return percentile_interval(value, drawn[:, 0] / drawn[:, 1], len(units))


def _strength_rows(told: Sequence[_Told]) -> list[Row]:
    """Strengths of every group of methods that votes connect; a group's mean is 0."""
    methods = list(dict.fromkeys(name for one in told for name in (one.key.a, one.key.b)))
    votes = [(vote, methods.index(one.key.a), methods.index(one.key.b)) for one in told for vote in one.votes]
    compared = np.zeros((len(methods), len(methods)), dtype=bool)
    for _, a, b in votes:
        compared[a, b] = compared[b, a] = True
    rows: list[Row] = []
    for group in unconnected(compared):
        mine = [(vote, group.index(a), group.index(b)) for vote, a, b in votes if a in group]
        if len(group) > 1:
            names = [methods[i] for i in group]
            rows += [row(name, "bradley_terry", one) for name, one in zip(names, _strengths(mine, len(group)))]
    return rows


def _strengths(votes: Sequence[tuple[_Vote, int, int]], n_methods: int) -> list[Estimate]:
    raters, units = (sorted({getattr(vote, name) for vote, _, _ in votes}) for name in ("rater", "unit"))
    table = np.zeros((len(raters), len(units), n_methods, n_methods))
    for vote, a, b in votes:
        place = raters.index(vote.rater), units.index(vote.unit)
        table[(*place, a, b)] += vote.score
        table[(*place, b, a)] += 1 - vote.score
    values, resampled = bradley_terry(table.sum((0, 1))), bradley_terry(crossed_sums(table))
    return [percentile_interval(value, drawn, len(units)) for value, drawn in zip(values, resampled.T)]
