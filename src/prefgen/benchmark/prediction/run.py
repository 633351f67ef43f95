"""`prefgen bench --task prediction`: which of two pictures would this person choose?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from prefgen.benchmark.chain import Chain
from prefgen.benchmark.metrics.yes_no import KINDS
from prefgen.benchmark.ood import not_run
from prefgen.benchmark.population import Member, members_of
from prefgen.benchmark.prediction.asked import N_REFERENCES, Asked
from prefgen.benchmark.prediction.beyond import asked_of_dogs, asked_of_emoji
from prefgen.benchmark.prediction.people import asked_of_cases
from prefgen.benchmark.prediction.predictors import PREDICTORS, Predictor
from prefgen.benchmark.prediction.rounds import Rounds
from prefgen.benchmark.results import Row, row
from prefgen.benchmark.run import check_names, command_of, current_commit, weights_folder, weights_sha256
from prefgen.benchmark.statistics import calibration_interval, mean_interval
from prefgen.benchmark.store import fingerprint
from prefgen.benchmark.tasks import cases_of
from prefgen.core import InputError

OTHER_USER, STRANGERS_AT = "other_user", 4
"""A control: the model told another person's choices, at this many reference pairs."""
CALIBRATED = ("prefgen", "clip_logistic_regression", "crowd")
"""Predictors whose probabilities claim something."""


KEPT_PICTURES = 50_000
"""Pictures whose tokens the language model keeps: every round asks about the same ones."""


@dataclass(frozen=True, kw_only=True)
class PredictionPlan:
    """How many people, and how many pairs each is asked about, of each kind of people."""

    n_users: int
    n_questions: int
    n_emoji_agents: int
    n_emoji_questions: int
    n_dog_people: int | None
    n_dog_questions: int


QUICK = PredictionPlan(
    n_users=16, n_questions=4, n_emoji_agents=12, n_emoji_questions=4, n_dog_people=12, n_dog_questions=8
)
FULL = PredictionPlan(
    n_users=96, n_questions=16, n_emoji_agents=200, n_emoji_questions=4, n_dog_people=None, n_dog_questions=40
)


def bench_prediction(
    model_folder: str | Path = "embedded",
    quick: bool = True,
    seed: int = 0,
    out: str | Path | None = None,
    n_users: int | None = None,
    methods: Sequence[str] | None = None,
    data: str | Path | None = None,
) -> dict[str, Any]:
    """Asks a model, and what it is compared with, about the test people and, with `data`, about emoji and dogs.

    Gives what `bench` gives, with `per_person`: the share of right choices of each person by each predictor. `methods`
    are names of `PREDICTORS`; `out` keeps the result as `prediction.json`, and each round, so that the same command
    goes on where a broken one stopped.
    """
    from prefgen.pipeline import PrefGen

    names = tuple(methods or PREDICTORS)
    check_names(names, PREDICTORS)
    plan = QUICK if quick else FULL
    if n_users is not None:
        if n_users < 2:
            raise InputError(f"expected at least 2 users, got {n_users}", hint="a crowd is needed beside every person")
        plan = replace(plan, n_users=n_users)
    folder = weights_folder(model_folder)
    chain = PrefGen.from_pretrained(str(model_folder))
    if hasattr(chain.mllm, "vision"):
        chain.mllm.vision.max_items = KEPT_PICTURES  # pyright: ignore[reportAttributeAccessIssue]
    rounds = None
    if out is not None:
        asked = fingerprint(weights_sha256(folder), asdict(plan), list(names), seed, str(data))
        rounds = Rounds(folder=Path(out) / "rounds", asked=asked)
    rows, per_person = prediction_rows(
        chain,
        members_of("test"),
        plan=plan,
        methods=names,
        seed=seed,
        data=None if data is None else Path(data),
        rounds=rounds,
    )
    command = command_of(model_folder, quick, seed, out, n_users, methods, data, task="prediction")
    result = {
        "commit": current_commit(),
        "weights_sha256": weights_sha256(folder),
        "n_users": min(plan.n_users, len(members_of("test"))),
        "seeds": [seed],
        "rows": [r.to_json() for r in rows],
        "per_person": per_person,
        "command": command,
    }
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out) / "prediction.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def prediction_rows(
    chain: Chain,
    members: Sequence[Member],
    *,
    plan: PredictionPlan,
    methods: Sequence[str] = tuple(PREDICTORS),
    seed: int = 0,
    data: Path | None = None,
    rounds: Rounds | None = None,
) -> tuple[list[Row], list[dict[str, Any]]]:
    """`prediction_accuracy_{people}@{k}_pairs` and `prediction_calibration_error_…` for every predictor, and the
    accuracy of each person. `people` are `everything` and `one_attribute` (simulated, by what the two pictures of a
    question differ in), `emoji` and `dogs`."""
    cases = cases_of(members[: plan.n_users])
    groups: dict[str, list[Asked]] = {k: asked_of_cases(cases, k, plan.n_questions, seed) for k in KINDS}
    rows: list[Row] = []
    if data is not None and (data / "emoji" / "emoji64.npz").exists():
        groups["emoji"] = asked_of_emoji(data / "emoji", plan.n_emoji_agents, plan.n_emoji_questions, seed)
    else:
        rows.append(not_run("emoji", "because the emoji pictures are not there (give --data)"))
    if data is not None and (data / "dogs" / "ratings.csv").exists():
        groups["dogs"] = asked_of_dogs(data / "dogs", plan.n_dog_people, plan.n_dog_questions, seed)
    else:
        rows.append(not_run("dogs", "because the ratings are not there (give --data)"))
    per_person: list[dict[str, Any]] = []
    with tqdm(total=len(groups) * len(N_REFERENCES), unit="round", file=sys.stderr, disable=None) as bar:
        for people, asked in groups.items():
            for k in N_REFERENCES:
                bar.set_description(f"{people}, {k} pairs")
                known = rounds.known(people, k) if rounds else None
                if known is None:
                    known = _round(chain, people, asked, k, [PREDICTORS[m] for m in methods])
                    if rounds:
                        rounds.keep(people, k, known)
                new_rows, new_people = known
                rows += new_rows
                per_person += new_people
                bar.update()
    return rows, per_person


def right_choices(probabilities: np.ndarray, first_chosen: np.ndarray) -> np.ndarray:
    """float [n]: 1 where the likelier picture was chosen, one half where neither is likelier."""
    return 0.5 + 0.5 * np.sign(probabilities - 0.5) * np.where(first_chosen, 1, -1)


def _round(
    chain: Chain, people: str, asked: Sequence[Asked], k: int, predictors: Sequence[Predictor]
) -> tuple[list[Row], list[dict[str, Any]]]:
    """All predictors on one group of people with `k` reference pairs; and the model with a stranger's references."""
    rows: list[Row] = []
    per_person: list[dict[str, Any]] = []
    strangers = [asked[(i + len(asked) // 2) % len(asked)] for i in range(len(asked))]
    rounds = [(p.name, p, asked) for p in predictors]
    rounds += [(OTHER_USER, p, strangers) for p in predictors if p.name == "prefgen" and k == STRANGERS_AT]
    for name, predictor, owners in rounds:
        given = [predictor.first_chosen(chain, a, owner.references[:k]) for a, owner in zip(asked, owners)]
        answers = [(a, p) for a, p in zip(asked, given) if p is not None]
        if not answers:
            continue
        right = np.array([right_choices(p, a.first_chosen).mean() for a, p in answers])
        rows.append(row(name, f"prediction_accuracy_{people}@{k}_pairs", mean_interval(right)))
        per_person += [
            {"method": name, "people": people, "n_pairs": k, "person": a.person, "accuracy": round(float(r), 6)}
            for (a, _), r in zip(answers, right)
        ]
        if name in CALIBRATED:
            told, labels = padded([p for _, p in answers]), padded([a.first_chosen for a, _ in answers])
            error = calibration_interval(told, labels)
            rows.append(row(name, f"prediction_calibration_error_{people}@{k}_pairs", error))
    return rows, per_person


def padded(columns: Sequence[np.ndarray]) -> np.ndarray:
    """float [n_people, n_most], nan where a person was asked about fewer."""
    whole = np.full((len(columns), max(len(c) for c in columns)), np.nan)
    for place, column in zip(whole, columns):
        place[: len(column)] = column
    return whole
