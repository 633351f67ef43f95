"""Figures of a study: strengths that were planted come back, agreement as by hand, and who is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefgen.benchmark.statistics import crossed_sums, share_interval
from prefgen.core import InputError
from prefgen.study import Answer, Asked, study_report
from prefgen.study.agreement import krippendorff_alpha
from prefgen.study.strength import bradley_terry, unconnected
from small_study import answer_all, new_study, write_answers

OTHER = {"left": "right", "right": "left"}


def figures(report: dict[str, Any], metric: str) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in report["rows"] if row["metric"] == metric}


def always_a(_: str, asked: Asked) -> str:
    return asked.side


def with_chance(p: float, seed: int):
    """Chooses a with probability `p`."""
    rng = np.random.default_rng(seed)
    return lambda _, asked: asked.side if rng.random() < p else OTHER[asked.side]


def test_bradley_terry_of_two_is_the_log_odds() -> None:
    found = bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]))
    assert found[0] - found[1] == pytest.approx(np.log(30.5 / 10.5))
    assert found.sum() == pytest.approx(0)
    unbeaten = bradley_terry(np.array([[0.0, 100.0], [0.0, 0.0]]))
    assert unbeaten[0] - unbeaten[1] == pytest.approx(np.log(100.5 / 0.5))


def test_bradley_terry_recovers_planted_strengths() -> None:
    truth = np.array([1.2, 0.3, -0.4, -1.1])
    rng = np.random.default_rng(0)
    wins = np.zeros((4, 4))
    for i, j in ((0, 1), (1, 2), (2, 3), (0, 3)):  # not all were compared with all
        p = 1 / (1 + np.exp(truth[j] - truth[i]))
        wins[i, j] = rng.binomial(20_000, p)
        wins[j, i] = 20_000 - wins[i, j]
    assert bradley_terry(wins) == pytest.approx(truth, abs=0.04)
    both = bradley_terry(np.stack([wins, wins.T]))
    assert both[1] == pytest.approx(-both[0])


def test_methods_that_nothing_connects_have_no_common_scale() -> None:
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[2, 3] = 5
    assert unconnected(wins + wins.T > 0) == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="connect"):
        bradley_terry(wins)


def test_agreement_is_as_by_hand_and_as_published() -> None:
    # Three units, two raters: values l l, r r, l r. Coincidences ll 2, rr 2, lr 1, rl 1; n = 6, n_l = n_r = 3.
    # alpha = 1 - (6 - 1) (6 - 4) / (36 - 18) = 1 - 10 / 18.
    by_hand = krippendorff_alpha({"1": ["l", "l"], "2": ["r", "r"], "3": ["l", "r"], "alone": ["l"]})
    assert by_hand.value == pytest.approx(1 - 10 / 18)
    assert by_hand.n == 3
    assert by_hand.low <= by_hand.value <= by_hand.high
    # Krippendorff (2011), section C: four observers, twelve units, missing data; nominal alpha 0.743.
    published = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    assert krippendorff_alpha(dict(zip("abcdefghijkl", published))).value == pytest.approx(0.743, abs=5e-4)
    assert np.isnan(krippendorff_alpha({"1": ["l", "l"], "2": ["l", "l"]}).value), "nothing varies, nothing is said"
    assert krippendorff_alpha({"1": ["l"]}).n == 0


def test_crossed_sums_resample_raters_and_units_apart() -> None:
    sums = crossed_sums(np.ones((5, 7)))
    assert sums.shape == (2000,)
    assert (sums == 35).all()
    by_rater = crossed_sums(np.repeat(np.arange(5.0)[:, None], 7, 1)[..., None])[:, 0] / 35
    by_unit = crossed_sums(np.repeat(np.arange(7.0)[None], 5, 0)) / 35
    assert by_rater.std() == pytest.approx(np.sqrt(2 / 5), rel=0.1)
    assert by_unit.std() == pytest.approx(np.sqrt(4 / 7), rel=0.1)
    assert abs(np.corrcoef(by_rater, by_unit)[0, 1]) < 0.1


def test_win_rates_ties_and_who_was_left_out(tmp_path: Path) -> None:
    study, key = new_study(tmp_path / "s")
    pairs = [name for name, asked in key.questions.items() if asked.kind == "pair"]

    def some_ties(name: str, asked: Asked) -> str:
        place = pairs.index(name)
        return "tie" if place < 4 else asked.side if place < 10 else OTHER[asked.side]

    for rater in ("ada", "bob"):
        answer_all(tmp_path / "s", study, key, rater, some_ties)
    answer_all(tmp_path / "s", study, key, "careless", always_a, attentive=False)
    write_answers(tmp_path / "s", study, [Answer(rater="early", question=pairs[0], choice="left", time_s=1.0)])
    report = study_report([tmp_path / "s"])
    one = report["studies"][0]
    assert (one["n_a"], one["n_b"], one["n_ties"], one["n_questions"], one["n_checks"]) == (12, 4, 8, 12, 2)
    assert (one["n_raters"], one["n_left_out"]) == (2, 2)
    left_out = {rater["rater"]: rater["left_out"] for rater in report["raters"]}
    assert left_out == {
        "ada": None,
        "bob": None,
        "careless": "0 of 2 checks right, expected 75%",
        "early": "no check answered yet",
    }
    rate = figures(report, "win_rate_over:secret-beta")["secret-alpha"]
    assert rate["value"] == pytest.approx((12 + 4) / 24, abs=1e-6)
    assert rate["low"] < rate["value"] < rate["high"]
    assert rate["n"] == 3, "people are resampled, each with their questions"
    assert figures(report, "tie_share:secret-beta")["secret-alpha"]["value"] == pytest.approx(8 / 24, abs=1e-6)
    assert figures(report, "krippendorff_alpha")["raters"]["value"] == 1
    assert study_report([tmp_path / "s"], least_checks=0)["studies"][0]["n_raters"] == 3


def test_a_clear_winner_is_not_certain_and_agreement_is_whole(tmp_path: Path) -> None:
    study, key = new_study(tmp_path / "s", n_people=0)
    for rater in ("ada", "bob"):
        answer_all(tmp_path / "s", study, key, rater, always_a)
    report = study_report([tmp_path / "s"])
    rate = figures(report, "win_rate_over:secret-beta")["secret-alpha"]
    assert (rate["value"], rate["n"]) == (1, 12), "without people questions are the units"
    assert rate["low"] == pytest.approx(share_interval(12, 12)[0], abs=1e-6)
    assert figures(report, "krippendorff_alpha")["raters"]["value"] == 1
    assert figures(report, "left_share")["raters"]["value"] == 0.5


def test_the_last_of_several_answers_counts(tmp_path: Path) -> None:
    study, key = new_study(tmp_path / "s")
    answer_all(tmp_path / "s", study, key, "ada", always_a)
    answer_all(tmp_path / "s", study, key, "ada", lambda _, asked: OTHER[asked.side])
    one = study_report([tmp_path / "s"])["studies"][0]
    assert (one["n_a"], one["n_b"]) == (0, 12)


def test_strengths_come_back_from_several_studies(tmp_path: Path) -> None:
    truth = {"ours": 1.0, "rival": 0.2, "plain": -1.2}
    folders = []
    for k, (a, b) in enumerate((("ours", "rival"), ("rival", "plain"))):
        folder = tmp_path / f"{a}-{b}"
        study, key = new_study(folder, n=40, seed=k, a=a, b=b, n_people=8)
        for rater in range(12):
            p = 1 / (1 + np.exp(truth[b] - truth[a]))
            answer_all(folder, study, key, f"rater {rater}", with_chance(p, 100 * k + rater))
        folders.append(folder)
    found = figures(study_report(folders), "bradley_terry")
    assert list(found) == ["ours", "rival", "plain"]
    for name, row in found.items():
        assert row["low"] <= truth[name] <= row["high"]
        assert row["value"] == pytest.approx(truth[name], abs=0.3)
        assert row["high"] - row["low"] < 1


def test_studies_that_share_no_method_get_scales_of_their_own(tmp_path: Path) -> None:
    for k, (a, b) in enumerate((("one", "two"), ("three", "four"))):
        study, key = new_study(tmp_path / a, seed=k, a=a, b=b)
        answer_all(tmp_path / a, study, key, "ada", with_chance(0.7, k))
    found = figures(study_report([tmp_path / "one", tmp_path / "three"]), "bradley_terry")
    assert found["one"]["value"] == -found["two"]["value"]
    assert found["three"]["value"] == -found["four"]["value"]


def test_a_study_without_answers_says_nothing(tmp_path: Path) -> None:
    new_study(tmp_path / "s")
    report = study_report([tmp_path / "s"])
    assert {row["value"] for row in report["rows"]} == {"n/a"}
    assert report["raters"] == []


def test_the_same_study_twice_and_odd_shares_are_refused(tmp_path: Path) -> None:
    new_study(tmp_path / "s")
    with pytest.raises(InputError, match="twice"):
        study_report([tmp_path / "s", tmp_path / "s"])
    with pytest.raises(InputError, match="got none"):
        study_report([])
    with pytest.raises(InputError, match="share"):
        study_report([tmp_path / "s"], least_checks=2)


def test_the_command_prints_data_to_stdout(cli, tmp_path: Path) -> None:
    study, key = new_study(tmp_path / "s")
    answer_all(tmp_path / "s", study, key, "ada", always_a)
    answer_all(tmp_path / "s", study, key, "careless", always_a, attentive=False)
    status, out, err = cli("study", "report", tmp_path / "s", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == study_report([tmp_path / "s"])
    status, out, _ = cli("study", "report", tmp_path / "s")
    assert status == 0
    assert "secret-alpha against secret-beta: 12 to 0, 0 ties; 1 raters, 1 left out" in out
    assert "left out: careless: 0 of 2" in out
    status, _, err = cli("study", "report", tmp_path)
    assert (status, err[:6]) == (2, "error:")
