"""`prefgen bench` in seconds: a painter and a judge who agree on a code, few people, pictures of one step."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fake_judge import FakeChain, FakeJudge
from prefgen import PrefGen
from prefgen.benchmark import run
from prefgen.benchmark.ablations import run as ablations
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.judge import Judge
from prefgen.benchmark.metrics import costs
from prefgen.benchmark.prediction import PredictionPlan
from prefgen.benchmark.prediction import run as prediction
from prefgen.benchmark.run import Plan
from prefgen.benchmark.tuning import tuned_parameters
from tiny_baselines import save_baselines

N_USERS = ("--n-users", "2")
"""What every command gets beside what the page says."""
SMALLEST = Plan(n_users=2, n_prompts=1, n_seeds=1, n_reserved=1, n_steps=1)
FEW = PredictionPlan(n_users=2, n_questions=3, n_emoji_agents=3, n_emoji_questions=2, n_dog_people=3, n_dog_questions=5)
SHORT = {"lora": {"n_steps": 2, "rank": 2}}


def with_tiny_bench(folder: Path, monkeypatch: pytest.MonkeyPatch, chain: Any | None = None) -> None:
    """Puts the tiny ones in the places of the shipped model (the fake one with its rivals' weights, or `chain` without
    any) and of the judges. The demo, which the bench times in a process of its own, is left out."""
    (folder / "embedded").mkdir(parents=True)
    if chain is None:
        chain = FakeChain()
        save_baselines(folder / "baselines", chain)
    monkeypatch.setattr(PrefGen, "from_pretrained", lambda *_, **__: chain)
    monkeypatch.setattr(Judge, "load", lambda *_: FakeJudge())
    monkeypatch.setattr(run, "WEIGHTS", folder)
    monkeypatch.setattr(run, "cold_start_rows", lambda *_: [])
    for place in (run, costs):
        monkeypatch.setattr(place, "tuned_parameters", lambda name: {**tuned_parameters(name), **SHORT.get(name, {})})
    for name in ("QUICK", "FULL"):
        monkeypatch.setattr(run, name, SMALLEST)
        monkeypatch.setattr(prediction, name, FEW)
        monkeypatch.setattr(ablations, name, replace(ablations.QUICK, n_of_kind=2))
    monkeypatch.setattr(ablations, "Sampling", partial(Sampling, n_steps=1))
