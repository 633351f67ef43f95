"""Likeness to a person's own pictures, and adherence to the prompt, where the truth is planted."""

from __future__ import annotations

import numpy as np
import pytest

from prefgen.benchmark.likeness import likeness_rows, own_likeness
from prefgen.benchmark.metrics import METRICS
from prefgen.benchmark.metrics.clip_t import fitted_reader
from prefgen.benchmark.metrics.prefdisc import DISLIKED, LIKED
from prefgen.benchmark.population import members_of
from prefgen.benchmark.results import Results
from prefgen.benchmark.tasks import cases_of
from prefgen.core import numpy_rng
from test_benchmark_metrics import MAKERS, perfect_scene, plain_scene, results_of


@pytest.fixture(scope="module")
def results() -> Results:
    """Planted results without a model."""
    return results_of(MAKERS, n_users=12)


def _values(results: Results, name: str) -> dict[tuple[str, str], float]:
    return {(r.method, r.metric): r.value for r in METRICS[name].measure(results)}


def test_own_likeness_is_the_mean_over_all_pairs_of_ordinary_pictures(results: Results) -> None:
    rng = numpy_rng("likeness")
    made, own = rng.normal(size=(2, len(results.tasks), 5))
    got = own_likeness(results, made, own)
    places = [i for i, t in enumerate(results.tasks) if t.case.user == 3 and t.kind == "ordinary"]
    cosines = [made[i] @ own[j] / np.linalg.norm(made[i]) / np.linalg.norm(own[j]) for i in places for j in places]
    assert got[3] == pytest.approx(np.mean(cosines))
    moved = made.copy()
    moved[[i for i, t in enumerate(results.tasks) if t.kind != "ordinary"]] = 9.0
    np.testing.assert_array_equal(own_likeness(results, moved, own), got)


def test_liked_minus_disliked_is_twice_the_way_for_opposite_sides_and_its_differences_are_paired(
    results: Results,
) -> None:
    axis = numpy_rng("axis").normal(size=(len(results.cases), 4))[results.owners]
    features = {LIKED: axis, DISLIKED: -axis, **{m: np.zeros_like(axis) for m in results.methods}}
    features |= {"prefgen": 3 * axis, "prompt": -axis}
    rows = {(r.method, r.metric): r for r in likeness_rows(results, "s", features)}
    assert rows["prefgen", "s"].value == pytest.approx(1.0)
    assert rows["prefgen", "s_liked_minus_disliked"].value == pytest.approx(2.0)
    assert rows["oracle", "s_liked_minus_disliked"].value == 0.0
    above = rows["prefgen", "s_liked_minus_disliked_above:prompt"]
    assert (above.value, above.low, above.high) == pytest.approx((4.0, 4.0, 4.0))
    assert ("prefgen", "s_liked_minus_disliked_above:painter") not in rows


def test_style_follows_the_own_taste_and_not_a_strangers_and_ignores_the_subject(results: Results) -> None:
    def strangers(task):
        cases = cases_of(members_of("validation")[:12])
        other = cases[(task.case.user + 6) % 12].person.current_tastes()[0]
        return plain_scene(task).with_changes(values={f: v[0] for f, v in other.likes.items()})

    many = results_of(
        {
            "prefgen": perfect_scene,
            "prompt": plain_scene,
            "other_user": strangers,
            "rewrite": lambda t: perfect_scene(t).with_changes(subject="book", setting=None),
        }
    )
    got, name = _values(many, "style_judge_features"), "style_judge_features_liked_minus_disliked"
    assert got["prefgen", name] > 0.2
    assert got["prefgen", name] > got["other_user", name] + 0.1
    assert got["rewrite", name] == pytest.approx(got["prefgen", name])


def test_without_a_model_or_held_out_pictures_nothing_is_said(results: Results) -> None:
    for name in ("clip_i_of_the_model", "clip_t_of_the_model", "cmmd_clip_of_the_model"):
        assert METRICS[name].measure(results) == []
    bare = Results(cases=results.cases, tasks=results.tasks, pictures=results.pictures, readings=results.readings)
    for name in ("style_judge_features", "kid_judge_features"):
        assert METRICS[name].measure(bare) == []


def test_a_prompt_reader_knows_its_pictures_through_any_linear_map_and_strangers_not() -> None:
    rng = numpy_rng("reader")
    texts, way = rng.normal(size=(300, 6)), rng.normal(size=(6, 9))
    pictures = texts @ way + 5.0 + 0.3 * rng.normal(size=(300, 9))
    reader = fitted_reader(texts[:200], pictures[:200])
    own = reader.adherence(texts[200:], pictures[200:])
    other = reader.adherence(texts[200:], np.roll(pictures[200:], 1, axis=0))
    assert own.min() > 0.8
    assert abs(other.mean()) < 0.2
    assert abs(reader.adherence(texts[200:], rng.normal(size=(100, 9)) + reader.picture_mean).mean()) < 0.2
