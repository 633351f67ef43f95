"""What a picture is worth, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fake_judge import reading_of, simple_taste
from prefgen.agents import Person, Scene
from prefgen.benchmark.judge import CLASSES
from prefgen.benchmark.utility import person_utility, taste_utility, trait_utility


def test_trait_utility_runs_from_disliked_to_liked_and_is_clipped() -> None:
    seen = np.array([0.8, -0.8, 0.0, 0.4, 3.0])
    np.testing.assert_allclose(trait_utility(seen, 0.8, -0.8), [1, -1, 0, 0.5, 1])
    np.testing.assert_allclose(trait_utility(seen, -0.8, 0.8), [-1, 1, 0, -0.5, -1])


def test_worded_utility_is_the_mean_over_families_with_an_opinion() -> None:
    reading = reading_of(
        Scene(subject="fox", values={"palette": "gold", "medium": "mosaic"}),
        Scene(subject="fox", values={"palette": "teal", "hand": "bold"}),
        Scene(subject="fox", values={"palette": "azure", "medium": "mosaic"}),
    )
    np.testing.assert_allclose(taste_utility(reading, simple_taste()).worded, [1.0, -0.5, 0.5])


def test_wordless_utility_counts_the_look_and_each_trait_alike() -> None:
    reading = reading_of(
        Scene(subject="fox", look="look-1", continuous={"size": 0.8}),
        Scene(subject="fox", look="look-2", continuous={"size": -0.8}),
        Scene(subject="fox", look="look-5"),
    )
    judged = taste_utility(reading, simple_taste())
    np.testing.assert_allclose(judged.wordless, [1.0, -1.0, 0.0], atol=0.01)
    np.testing.assert_allclose(judged.total, (2 * judged.worded + 2 * judged.wordless) / 4)


def test_probabilities_count_as_far_as_they_go() -> None:
    sure = reading_of(Scene(subject="fox"))
    palette = np.zeros((1, len(CLASSES["palette"])))
    palette[0, CLASSES["palette"].index("gold")], palette[0, CLASSES["palette"].index("teal")] = 0.7, 0.2
    reading = replace(sure, classes={**sure.classes, "palette": palette})
    assert taste_utility(reading, simple_taste()).worded[0] == pytest.approx(0.25)


def _person(kind: str) -> Person:
    other = simple_taste(likes={"palette": ("azure",)}, dislikes={}, looks_liked=(), looks_disliked=(), traits={})
    return Person(id="p", cluster=0, kind=kind, tastes=(simple_taste(), other))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("two_mode", [0.75, 1.0]), ("drifting", [0.0, 1.0]), ("subject_dependent", [0.75, 0.0])],
)
def test_the_taste_that_rules_the_picture_is_asked(kind: str, expected: list[float]) -> None:
    reading = reading_of(
        Scene(subject="fox", values={"palette": "gold", "medium": "mosaic"}, look="look-1"),
        Scene(subject="fox", values={"palette": "azure"}),
    )
    judged = person_utility(reading, _person(kind), ["fox", "fox"])
    np.testing.assert_allclose(judged.total, expected, atol=0.01)
    things = person_utility(reading, _person(kind), ["boat", "boat"])
    if kind == "subject_dependent":
        np.testing.assert_allclose(things.total, [0.0, 1.0])
    if kind == "two_mode":
        assert judged.mode.tolist() == [0, 1]
