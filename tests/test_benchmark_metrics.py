"""The contract of every metric, and each one against pictures whose truth was planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fake_judge import FakeChain, FakeJudge, planted
from prefgen.agents import Scene
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.methods.oracle import ruling_taste
from prefgen.benchmark.methods.painter import painter_scene
from prefgen.benchmark.metrics import METRICS, Metric
from prefgen.benchmark.metrics.diversity import mean_distance
from prefgen.benchmark.metrics.prefdisc import DISLIKED, LIKED, held_out_pair, liked_first
from prefgen.benchmark.metrics.two_modes import mode_shares
from prefgen.benchmark.metrics.win_rate import wins
from prefgen.benchmark.population import members_of
from prefgen.benchmark.results import Results, Row
from prefgen.benchmark.tasks import Task, cases_of, tasks_of


def plain_scene(task: Task) -> Scene:
    """What the prompt alone shows."""
    return Scene(subject=task.subject, setting=task.setting, seed=task.seed)


def told_scene(task: Task) -> Scene:
    """One liked value of every family: worded taste in full, nothing wordless."""
    likes = ruling_taste(task).likes
    return plain_scene(task).with_changes(values={f: v[task.seed % len(v)] for f, v in likes.items()})


def perfect_scene(task: Task) -> Scene:
    """All that the person likes, wordless too."""
    taste = ruling_taste(task)
    traits = {t: good for t, (good, _) in taste.traits.items()}
    return told_scene(task).with_changes(look=taste.looks_liked[0], continuous=traits)


def results_of(makers: dict[str, Callable[[Task], Scene]], n_users: int = 12, bench: Bench | None = None) -> Results:
    """Results of planted pictures."""
    cases = cases_of(members_of("validation")[:n_users])
    tasks = tasks_of(cases, n_prompts=2, n_seeds=2, n_reserved=1)
    judge = FakeJudge()
    pictures = {name: np.stack([planted(make(t)) for t in tasks]) for name, make in makers.items()}
    readings = {name: judge.read(p) for name, p in pictures.items()}
    pairs = [held_out_pair(t) for t in tasks]
    scenes = {
        "painting": [painter_scene(t) for t in tasks],
        LIKED: [a for a, _ in pairs],
        DISLIKED: [b for _, b in pairs],
    }
    extra = {name: np.stack([planted(s) for s in of]) for name, of in scenes.items()}
    return Results(
        cases=cases,
        tasks=tasks,
        pictures=pictures,
        readings=readings,
        extra_pictures=extra,
        extra_readings={name: judge.read(of) for name, of in extra.items()},
        bench=bench,
    )


MAKERS: dict[str, Callable[[Task], Scene]] = {
    "prompt": plain_scene,
    "oracle": told_scene,
    "oracle_history": told_scene,
    "painter": perfect_scene,
    "prefgen": perfect_scene,
}


@pytest.fixture(scope="module")
def results() -> Results:
    """Planted results with a tiny chain to ask."""
    return results_of(MAKERS, n_users=12, bench=Bench(chain=FakeChain(), sampling=Sampling(n_steps=1), baselines=None))  # type: ignore[arg-type]


def check_metric(metric: Metric, results: Results) -> list[Row]:
    """What must hold of every metric: sound rows, each once, and nothing left changed."""
    before = {name: made.copy() for name, made in results.pictures.items()}
    rows = metric.measure(results)
    assert rows
    assert len({(r.method, r.metric) for r in rows}) == len(rows)
    for r in rows:
        plain = r.to_json()
        assert set(plain) == {"method", "metric", "value", "low", "high", "n"}
        assert all(isinstance(plain[k], float) or plain[k] == "n/a" for k in ("value", "low", "high"))
        if math.isfinite(r.low) and math.isfinite(r.high):
            assert r.low - 1e-9 <= r.value <= r.high + 1e-9
    assert all(np.array_equal(before[n], p) for n, p in results.pictures.items())
    assert metric.measure(Results(cases=[], tasks=[], pictures={}, readings={})) is not None
    return rows


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_keeps_the_contract(name: str, results: Results) -> None:
    assert METRICS[name].name == name
    rows = check_metric(METRICS[name], results)
    if name != "seconds_per_image":
        assert [r.to_json() for r in METRICS[name].measure(results)] == [r.to_json() for r in rows]


def _values(name: str, results: Results) -> dict[tuple[str, str], float]:
    return {(r.method, r.metric): r.value for r in METRICS[name].measure(results)}


def test_gain_is_one_for_the_ceilings_and_zero_for_the_plain(results: Results) -> None:
    got = _values("gain", results)
    assert got["prompt", "utility_worded"] == pytest.approx(0.0)
    assert got["oracle", "gain"] == pytest.approx(1.0)
    assert got["prefgen", "gain"] == pytest.approx(1.0)
    assert got["prefgen", "gain_wordless"] == pytest.approx(1.0)
    assert got["oracle", "gain_wordless"] == pytest.approx(0.0, abs=0.02)
    assert got["prefgen", "gain_of_oracle_history"] == pytest.approx(1.0)
    assert got["oracle", "share_oracle_below_prompt"] == 0.0
    assert got["prefgen", "utility_wordless_above:oracle"] > 0.5
    assert got["prefgen", "gain@reserved_pairs"] == pytest.approx(1.0)


def test_below_either_floor_no_gain_is_said() -> None:
    wrong = results_of({**MAKERS, "prompt": lambda t: plain_scene(t).with_changes(subject="book")})
    assert math.isnan(_values("gain", wrong)["prefgen", "gain"])
    weak = results_of({**MAKERS, "oracle": plain_scene})
    assert math.isnan(_values("gain", weak)["prefgen", "gain_wordless"])
    assert _values("gain", weak)["oracle", "floor_oracle_of_painter"] == pytest.approx(0.0)


def test_wins_count_ties_one_half(results: Results) -> None:
    np.testing.assert_array_equal(wins(np.array([0.5, 0.1, 0.3]), np.array([0.1, 0.5, 0.3])), [1, 0, 0.5])
    assert _values("win_rate", results)["prefgen", "win_rate"] == 1.0
    same = results_of({"prompt": plain_scene, "prefgen": plain_scene})
    assert _values("win_rate", same)["prefgen", "win_rate"] == 0.5


def test_identification_knows_the_owner_of_a_perfect_picture_and_not_of_a_plain_one(results: Results) -> None:
    got = _values("identification_top1", results)
    assert got["prefgen", "identification_top1"] > 0.9
    assert got["prompt", "identification_top1"] < 0.5
    assert got["prefgen", "identification_of_painter"] == pytest.approx(1.0)


def test_subject_accuracy_counts_the_subject_alone(results: Results) -> None:
    half = results_of(
        {
            "prompt": plain_scene,
            "prefgen": lambda t: perfect_scene(t).with_changes(subject=(t.subject, "book")[t.seed % 2]),
        }
    )
    assert _values("subject_accuracy", results)["prefgen", "subject_accuracy_of_prompt"] == 1.0
    expected = half.by_user(np.array([float(t.seed % 2 == 0 or t.subject == "book") for t in half.tasks])).mean()
    assert _values("subject_accuracy", half)["prefgen", "subject_accuracy"] == pytest.approx(expected)


def test_diversity_is_the_mean_distance_within_a_prompt() -> None:
    assert mean_distance(np.array([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx(5.0)
    assert math.isnan(mean_distance(np.zeros((1, 2))))
    frozen = results_of({"oracle": plain_scene, "prefgen": lambda t: plain_scene(t).with_changes(seed=7)})
    got = _values("diversity", frozen)
    assert got["prefgen", "diversity_of_oracle"] == 0.0
    assert got["oracle", "diversity"] > 0


def test_coverage_counts_liked_values_seen_anywhere(results: Results) -> None:
    got = _values("coverage", results)
    assert got["prompt", "coverage"] == 0.0
    assert 0.5 < got["oracle", "coverage"] <= 1.0
    assert got["prefgen", "coverage_of_oracle"] == pytest.approx(1.0)


def test_a_blend_of_two_tastes_is_told_from_having_both(results: Results) -> None:
    case = next(c for c in results.cases if c.person.kind == "two_mode")

    def only(mode: int) -> Callable[[Task], Scene]:
        def make(task: Task) -> Scene:
            taste = task.case.person.tastes[mode % len(task.case.person.tastes)]
            return plain_scene(task).with_changes(values={f: v[0] for f, v in taste.likes.items()})

        return make

    one = results_of({"prefgen": only(0), "prompt": plain_scene})
    np.testing.assert_allclose(mode_shares(one, "prefgen", case), [1, 0, 0], atol=0.3)
    assert mode_shares(one, "prompt", case)[2] == 1.0


def test_the_judge_is_right_about_planted_pictures() -> None:
    got = _values("judge_accuracy", results_of({"painter": painter_scene}))
    assert set(got.values()) == {1.0}
    assert len(got) == 6


def test_only_the_own_history_answers_yes_and_no(results: Results) -> None:
    got = _values("yes_no", results)
    assert {"yes_no_accuracy_everything", "yes_no_accuracy_one_attribute", "calibration_error"} <= {m for _, m in got}
    assert got["no_history", "yes_no_accuracy_everything"] == pytest.approx(0.5)
    assert {m for who, m in got if who == "own_true_labels"} == {
        "yes_no_accuracy_everything",
        "yes_no_accuracy_one_attribute",
    }


def test_stock_diffusers_stands_beside_us(results: Results) -> None:
    got = _values("seconds_per_image", results)
    assert got["prefgen", "seconds_per_image_of_prompt"] > 0
    assert got["stock_ip_adapter", "seconds_per_image_of_prompt"] > 0


def test_prefdisc_tells_whose_taste_a_picture_shows(results: Results) -> None:
    got = _values("prefdisc", results)
    assert got["painter", "prefdisc"] >= got["oracle", "prefdisc"] > 0.9
    assert abs(got["prompt", "prefdisc"] - 0.5) < 0.15
    assert got["prefgen", "prefdisc_above:oracle"] == pytest.approx(
        got["prefgen", "prefdisc"] - got["oracle", "prefdisc"]
    )


def test_prefdisc_of_a_strangers_taste_is_chance() -> None:
    def strangers(task: Task) -> Scene:
        cases = cases_of(members_of("validation")[:40])
        other = cases[(task.case.user + 20) % 40].person.current_tastes()[0]
        return plain_scene(task).with_changes(values={f: v[0] for f, v in other.likes.items()})

    got = _values("prefdisc", results_of({"prompt": plain_scene, "other_user": strangers}, n_users=40))
    assert abs(got["other_user", "prefdisc"] - 0.5) < 0.12


def test_held_out_pairs_share_a_prompt_that_nobody_was_shown(results: Results) -> None:
    for task in results.tasks:
        liked, disliked = held_out_pair(task)
        assert (liked.subject, liked.setting) == (disliked.subject, disliked.setting)
        assert liked.subject != task.subject
        assert liked.subject not in {s.scene.subject for s in task.case.member.history()}
        assert held_out_pair(task) == (liked, disliked)


def test_likeness_of_nothing_seen_is_a_tie(results: Results) -> None:
    plain = results.readings["prompt"].rows(slice(0, 4))
    assert liked_first(plain, plain, plain).tolist() == [0.5] * 4


def test_kid_ranks_the_painter_before_the_told_and_the_plain(results: Results) -> None:
    rows = {r.method: r for r in METRICS["kid_judge_features"].measure(results)}
    assert all(r.n == len(results.cases) and r.low <= r.value <= r.high for r in rows.values())
    assert rows["painter"].value < rows["oracle"].value < rows["prompt"].value


def repainted(results: Results, **pictures: np.ndarray) -> Results:
    """The same run as if methods had made these pictures."""
    readings = {name: FakeJudge().read(made) for name, made in pictures.items()}
    return replace(results, pictures=pictures, readings=readings, _utilities={}, _clip={})


def test_cmmd_of_the_liked_pictures_themselves_is_zero_and_of_all_black_and_all_white_ones_is_not(
    results: Results,
) -> None:
    liked, name = results.extra_pictures[LIKED], "cmmd_clip_of_the_model"
    got = _values(name, repainted(results, prefgen=liked, prompt=0 * liked, oracle=0 * liked + 255))
    assert got["prefgen", name] == pytest.approx(0.0, abs=1e-9)
    # the fake tower knows dark (a share q) from bright: 2(1 - exp(-4 / 200))·(q² + (1 - q)²) of 1000, at least half
    assert got["prompt", name] + got["oracle", name] > 15
