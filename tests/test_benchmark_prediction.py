"""Preference prediction: honest questions, predictors with known truths, and the task as a command's result."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fake_judge import FakeChain, FakeJudge, planted
from prefgen.agents import Scene
from prefgen.benchmark.population import members_of
from prefgen.benchmark.prediction import N_REFERENCES, PREDICTORS, Asked, PredictionPlan, prediction_rows
from prefgen.benchmark.prediction.asked import in_random_order
from prefgen.benchmark.prediction.beyond import asked_of_dogs, asked_of_emoji, share_rating_first_higher
from prefgen.benchmark.prediction.people import asked_of_cases, share_choosing_first, true_reading
from prefgen.benchmark.prediction.predictors import ClipLogisticRegression, first_of_two, history_of_pairs
from prefgen.benchmark.prediction.rounds import Rounds
from prefgen.benchmark.prediction.run import padded, right_choices
from prefgen.benchmark.statistics import calibration_error
from prefgen.benchmark.tasks import cases_of
from prefgen.core import numpy_rng
from test_benchmark_run import _emoji_folder

PLAN = PredictionPlan(
    n_users=4, n_questions=3, n_emoji_agents=3, n_emoji_questions=2, n_dog_people=3, n_dog_questions=5
)


def plain(red: int, blue: int = 0) -> Image.Image:
    return Image.new("RGB", (64, 64), (red, 60, blue))


def asked_of_colours(n_references: int = 8, n_questions: int = 12) -> Asked:
    """Somebody who always chooses the redder picture."""
    rng = numpy_rng("colours")
    pairs = [(plain(int(rng.integers(150, 250)), 20), plain(20, int(rng.integers(150, 250)))) for _ in range(40)]
    questions, first = in_random_order(rng, pairs[:n_questions])
    return Asked(person="red", references=pairs[-n_references:], questions=questions, first_chosen=first)


def test_a_perfect_reading_is_what_a_judge_without_error_sees() -> None:
    scene = Scene(subject="fox", setting="by a lake", values={"palette": "gold"}, look="look-2", seed=8)
    truth, seen = true_reading([scene]), FakeJudge().read(np.stack([planted(scene)]))
    for head, p in truth.classes.items():
        np.testing.assert_array_equal(p, seen.classes[head])
    np.testing.assert_allclose(truth.traits, seen.traits, atol=0.005)


def test_questions_are_balanced_and_unseen_and_the_same_each_time() -> None:
    cases = cases_of(members_of("validation")[:8])
    asked, again = (asked_of_cases(cases, "everything", 6) for _ in range(2))
    assert 0.3 < np.concatenate([a.first_chosen for a in asked]).mean() < 0.7
    for a, b in zip(asked, again):
        assert [p.tobytes() for p in a.pictures] == [p.tobytes() for p in b.pictures]
        assert len(a.references) == max(N_REFERENCES)
        shown = {p.tobytes() for pair in a.references for p in pair}
        assert len(shown) == 2 * len(a.references)
        assert not shown & {p.tobytes() for p in a.pictures}
        assert a.crowd is not None
        assert 0 <= a.crowd.min() <= a.crowd.max() <= 1


def test_the_crowd_is_the_others_and_never_the_person() -> None:
    cases = cases_of(members_of("validation")[:9])
    case = next(c for c in cases if c.person.kind == "plain")
    family, values = next(iter(case.person.tastes[0].likes.items()))
    bare = Scene(subject="fox", seed=8)
    liked = bare.with_changes(values={family: values[0]})
    assert share_choosing_first(case, [case], [(liked, bare)]).tolist() == [0.5]
    forward = share_choosing_first(case, cases, [(liked, bare), (bare, bare)])
    backward = share_choosing_first(case, cases, [(bare, liked), (bare, bare)])
    np.testing.assert_allclose(forward + backward, 1)
    assert forward[1] == 0.5
    other = next(c for c in cases if c is not case)
    assert share_choosing_first(other, [case, other], [(liked, bare)]).tolist() == [1.0]


def test_two_likings_make_a_choice() -> None:
    got = first_of_two(np.array([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0], [0.2, 0.6]]))
    assert got[0] == pytest.approx(0.81 / 0.82)
    assert got[1] == 0.5
    assert 0.999 < got[2] < 1
    assert got[3] == pytest.approx(0.08 / (0.08 + 0.48))
    right = right_choices(np.array([0.9, 0.9, 0.5, 0.1]), np.array([True, False, True, False]))
    np.testing.assert_array_equal(right, [1, 0, 0.5, 1])


def test_references_become_a_history() -> None:
    history = history_of_pairs([(plain(200), plain(10)), (plain(210), plain(11))])
    assert [np.asarray(i.image)[0, 0, 0] for i in history.liked] == [200, 210]
    assert [np.asarray(i.image)[0, 0, 0] for i in history.disliked] == [10, 11]
    assert len(history_of_pairs([])) == 0


@pytest.mark.parametrize("name", ["prefgen", "clip_logistic_regression"])
def test_whoever_learns_from_references_is_undecided_without_and_right_with_them(name: str) -> None:
    chain, asked = FakeChain(), asked_of_colours()
    nothing = PREDICTORS[name].first_chosen(chain, asked, [])
    assert nothing is not None
    np.testing.assert_allclose(nothing, 0.5)
    for k in (1, 8):
        told = PREDICTORS[name].first_chosen(chain, asked, asked.references[:k])
        assert told is not None
        assert right_choices(told, asked.first_chosen).mean() == 1.0
        assert ((told > 0) & (told < 1)).all()
    opposite = PREDICTORS[name].first_chosen(chain, asked, [(b, a) for a, b in asked.references])
    assert opposite is not None
    assert right_choices(opposite, asked.first_chosen).mean() == 0.0


def test_logistic_regression_favours_no_side_and_grows_surer_with_references() -> None:
    chain, asked, model = FakeChain(), asked_of_colours(), ClipLogisticRegression()
    turned = Asked(
        person="", references=(), questions=[(b, a) for a, b in asked.questions], first_chosen=~asked.first_chosen
    )
    few, many = (model.first_chosen(chain, asked, asked.references[:k]) for k in (1, 8))
    np.testing.assert_allclose(model.first_chosen(chain, turned, asked.references[:1]), 1 - few)
    assert np.abs(many - 0.5).mean() > np.abs(few - 0.5).mean()


def test_calibration_leaves_out_what_was_not_asked() -> None:
    columns = padded([np.array([1.0, 1.0]), np.array([0.5])])
    assert columns.shape == (2, 2)
    assert math.isnan(columns[1, 1])
    error = calibration_error(columns, padded([np.array([1.0, 0.0]), np.array([1.0])]))
    assert error == pytest.approx((abs(2 - 1) + abs(0.5 - 1)) / 3)


def _dogs(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    for i in range(40):
        plain(6 * i).save(folder / "images" / f"{i:02d}.png")
    with (folder / "ratings.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["user", "item", "score", "repeat"])
        for user in range(4):
            for i in range(40):
                table.writerow([f"u{user}", f"{i:02d}.png", i / 40 if user < 3 else 1 - i / 40, 1])
    return folder


def test_dog_questions_are_of_the_other_half_and_the_crowd_is_everybody_else(tmp_path: Path) -> None:
    asked = asked_of_dogs(_dogs(tmp_path / "dogs"), None, 20)
    assert len(asked) == 4
    for user, a in enumerate(asked):
        shown = {p.tobytes() for pair in a.references for p in pair}
        assert len(shown) == 2 * max(N_REFERENCES)
        assert not shown & {p.tobytes() for p in a.pictures}
        reds = np.array([[np.asarray(p)[5, 5, 0] for p in pair] for pair in a.questions]).astype(int)
        np.testing.assert_array_equal(a.first_chosen, (reds[:, 0] > reds[:, 1]) == (user < 3))
        assert a.crowd is not None
        np.testing.assert_array_equal((a.crowd > 0.5) == a.first_chosen, user < 3)
    gone = np.array([[0.2, 0.8, np.nan], [0.5, 0.5, np.nan]])
    assert share_rating_first_higher(gone, [(0, 1), (0, 2)]).tolist() == [0.25, 0.5]


def test_emoji_questions_show_one_concept_in_two_styles_and_have_no_crowd(tmp_path: Path) -> None:
    for a in asked_of_emoji(_emoji_folder(tmp_path / "emoji", n_concepts=22), 4, 3):
        assert (len(a.references), len(a.questions), a.crowd) == (8, 3, None)
        assert PREDICTORS["crowd"].first_chosen(FakeChain(), a, a.references) is None


def test_the_task_gives_rows_for_every_predictor_and_figures_for_every_person(tmp_path: Path) -> None:
    _emoji_folder(tmp_path / "emoji", n_concepts=22)
    _dogs(tmp_path / "dogs")
    rows, per_person = prediction_rows(FakeChain(), members_of("validation"), plan=PLAN, data=tmp_path)
    found = {(r.method, r.metric): r for r in rows}
    assert len(found) == len(rows)
    for people, n in (("everything", 4), ("one_attribute", 4), ("emoji", 3), ("dogs", 3)):
        for k in N_REFERENCES:
            metric = f"prediction_accuracy_{people}@{k}_pairs"
            ours = found["prefgen", metric]
            assert ours.n == n
            assert found["chance", metric].value == 0.5
            assert (("crowd", metric) in found) == (people != "emoji")
            assert ("prefgen", metric.replace("accuracy", "calibration_error")) in found
            wanted = ("prefgen", people, k)
            mine = [p["accuracy"] for p in per_person if (p["method"], p["people"], p["n_pairs"]) == wanted]
            assert np.mean(mine) == pytest.approx(ours.value, abs=1e-5)
        assert found["prefgen", f"prediction_accuracy_{people}@0_pairs"].value == 0.5
        assert ("other_user", f"prediction_accuracy_{people}@4_pairs") in found
    assert found["prefgen", "prediction_accuracy_dogs@8_pairs"].value > 0.9
    assert found["crowd", "prediction_accuracy_dogs@0_pairs"].value == 1.0
    assert json.loads(json.dumps(per_person)) == per_person


def test_answered_rounds_are_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(asked: str = "this") -> Any:
        rounds = Rounds(folder=tmp_path, asked=asked)
        return prediction_rows(FakeChain(), members_of("validation"), plan=PLAN, methods=["prefgen"], rounds=rounds)

    rows, per_person = answered()
    (tmp_path / "one_attribute.8.json").unlink()
    n_asked = 0
    ask = PREDICTORS["prefgen"].first_chosen

    def counted(*given: Any) -> Any:
        nonlocal n_asked
        n_asked += 1
        return ask(*given)

    monkeypatch.setattr(PREDICTORS["prefgen"], "first_chosen", counted)
    again, same_people = answered()
    assert n_asked == PLAN.n_users, "one round was missing"
    assert [r.to_json() for r in again] == [r.to_json() for r in rows]
    assert same_people == per_person
    answered("another")
    assert n_asked > 2 * PLAN.n_users


def test_absent_data_is_said_and_methods_are_chosen() -> None:
    rows, per_person = prediction_rows(FakeChain(), members_of("validation"), plan=PLAN, methods=["chance"])
    assert {r.method for r in rows if r.metric.startswith("not run here, because")} == {"emoji", "dogs"}
    assert {r.method for r in rows} == {"emoji", "dogs", "chance"}
    assert {p["method"] for p in per_person} == {"chance"}


def test_the_command_knows_its_tasks_and_their_methods(cli) -> None:
    status, out, err = cli("bench", "--task", "predicton")
    assert (status, out) == (2, "")
    assert "expected a task of" in err
    assert "'prediction'" in err
    status, _, err = cli("bench", "--task", "prediction", "--methods", "prefgem")
    assert status == 2
    assert "'prefgen'" in err
