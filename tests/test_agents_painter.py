"""The painter: deterministic, the same picture at any size, and every treatment leaves its mark."""

import numpy as np
import pytest

from prefgen.agents import CONTINUOUS, FAMILIES, LOOKS, SETTINGS, SUBJECTS, Scene, all_values, paint
from prefgen.agents.vocabulary import family_of

PLAIN = Scene(subject="fox", seed=7)


def distance(a: Scene, b: Scene) -> float:
    """Mean absolute difference of two pictures, in grey levels."""
    return float(np.abs(paint(a).astype(float) - paint(b).astype(float)).mean())


def test_vocabulary_is_as_large_as_promised() -> None:
    assert len(SUBJECTS) >= 40
    assert len(all_values()) >= 60
    assert len(set(all_values())) == len(all_values())
    assert len(LOOKS) == 8
    assert all(family_of(v) == f for f, values in FAMILIES.items() for v in values)


def test_a_scene_is_painted_the_same_every_time() -> None:
    scene = Scene(subject="owl", setting="by a lake", values={"texture": "speckled"}, look="look-4", seed=11)
    assert (paint(scene) == paint(scene)).all()
    assert paint(scene).shape == (64, 64, 3)
    assert paint(scene).dtype == np.uint8


def test_the_seed_alone_changes_the_picture_a_little() -> None:
    assert 0 < distance(PLAIN, PLAIN.with_changes(seed=8)) < 30


@pytest.mark.parametrize("subject", SUBJECTS)
def test_subjects_differ_from_a_blank_and_stay_inside(subject: str) -> None:
    picture = paint(Scene(subject=subject, seed=3))
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.abs(picture.astype(int) - corners[0].astype(int)).max() > 60, "nothing was drawn"


@pytest.mark.parametrize("value", all_values())
def test_every_worded_value_shows(value: str) -> None:
    family = family_of(value)
    assert family is not None
    assert distance(PLAIN, PLAIN.with_changes(values={family: value})) > 1.2


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_shows(look: str) -> None:
    assert distance(PLAIN, PLAIN.with_changes(look=look)) > 1.0


@pytest.mark.parametrize("trait", CONTINUOUS)
def test_every_trait_moves_the_picture(trait: str) -> None:
    low, high = (PLAIN.with_changes(continuous={trait: v}) for v in (-1.0, 1.0))
    assert distance(low, high) > 0.8


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_shows(setting: str) -> None:
    assert distance(PLAIN, PLAIN.with_changes(setting=setting)) > 0.8


def test_a_larger_picture_shows_the_same_thing() -> None:
    scene = Scene(subject="house", values={"palette": "teal", "hand": "bold", "composition": "framed"}, seed=5)
    small = paint(scene).astype(float)
    large = paint(scene, 128).astype(float).reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(small - large).mean() < 12
