"""Calls and memory are counted: known truths, and every method of the benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fake_judge import FakeChain
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.footprint import MIB, TensorCount, counted_rows, footprint_of
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.metrics import METRICS
from prefgen.benchmark.population import members_of
from prefgen.benchmark.results import Results
from prefgen.benchmark.tasks import cases_of, tasks_of

MIB_OF_FLOATS = MIB // 4


def test_memory_is_the_most_that_is_held_at_once_and_not_all_that_was_made() -> None:
    with TensorCount() as count:
        a = torch.zeros(MIB_OF_FLOATS)
        for _ in range(5):
            b = a + 1
            del b
        c = [a + k for k in range(3)]
        view = c[0][10:20].reshape(2, 5)
    assert count.peak == 4 * MIB
    assert view.shape == (2, 5)
    with TensorCount() as count:
        torch.zeros(MIB_OF_FLOATS).add_(1).mul_(2)
    assert count.peak == MIB


def test_weights_are_counted_once_and_only_if_read() -> None:
    layer, unread = nn.Linear(512, 512, bias=False), nn.Linear(512, 512)
    with torch.no_grad(), TensorCount() as count:
        layer(layer(torch.zeros(2, 512)))
    assert count.weights == MIB
    assert count.peak < 0.1 * MIB
    assert unread.weight.numel() == MIB_OF_FLOATS


def test_rows_are_counted_at_the_entrance_however_the_network_is_called() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv_in = nn.Conv2d(1, 1, 1)

        def forward(self, sample: torch.Tensor) -> torch.Tensor:
            return self.conv_in(sample)

    network = Network()
    with counted_rows(network) as count:
        network(sample=torch.zeros(3, 1, 2, 2))
        network.forward(torch.zeros(2, 1, 2, 2))
    network(torch.zeros(7, 1, 2, 2))
    assert count.n_rows == 5
    assert not network.conv_in._forward_pre_hooks
    took = footprint_of(lambda: network(torch.zeros(4, 1, 2, 2)), network)
    assert took.n_rows == 4
    assert took.memory_mib == took.weights_mib + took.tensors_mib


@pytest.fixture(scope="module")
def results() -> Results:
    """The names of a run's methods and a tiny chain: nothing painted, nothing read."""
    cases = cases_of(members_of("validation")[:2])
    bench = Bench(chain=FakeChain(), sampling=Sampling(n_steps=2), baselines=Path("nowhere"))  # type: ignore[arg-type]
    names = ("prompt", "painter", "prefgen", "other_user", "viper", "fabric", "stylealigned", "best_of_n", "ip_adapter")
    tasks = tasks_of(cases, n_prompts=1, n_seeds=1)
    return Results(cases=cases, tasks=tasks, pictures={}, readings=dict.fromkeys(names), bench=bench)  # type: ignore[arg-type]


def test_calls_are_those_each_method_makes(results: Results) -> None:
    rows = {(r.method, r.metric): r.value for r in METRICS["costs"].measure(results)}
    calls = {method: value for (method, metric), value in rows.items() if metric == "network_calls_per_step"}
    assert calls == {
        "prompt": 2,
        "painter": 0,
        "prefgen": 2,
        "other_user": 2,
        "viper": 4,  # four rows a picture: with and without liked and disliked words
        "fabric": 10,  # two of its own, one for each of 4 + 4 references
        "stylealigned": 3,
        "best_of_n": 8,
    }, "a method without weights has no costs"
    memory = {method: rows[method, "peak_memory_mib"] for method in calls}
    assert memory["prefgen"] > memory["prompt"] > rows["prompt", "weights_mib"] > rows["painter", "weights_mib"] > 0
    assert memory["fabric"] > memory["prompt"]
    assert {rows[m, "training_minutes_per_person"] for m in calls} == {0.0}


def test_costs_of_nobody_known_are_the_same_each_time_and_the_history_is_read_anew(results: Results) -> None:
    metric, task = METRICS["costs"], results.tasks[0]
    first, second = (metric._task_of_nobody(task) for _ in range(2))  # type: ignore[attr-defined]
    shelves = [t.case.shelf for t in (task, first, second)]
    assert len({s.shown[0].scene.seed for s in shelves}) == 3
    assert len({s.shown[0].scene.seed % 8 for s in shelves}) == 1
    assert all([x.liked for x in s.shown] == [x.liked for x in shelves[0].shown] for s in shelves)
    few = Results(**{**vars(results), "readings": {"prefgen": None}})
    assert [r.to_json() for r in metric.measure(few)] == [r.to_json() for r in metric.measure(few)]
