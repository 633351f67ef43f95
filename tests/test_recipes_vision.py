"""The vision tower's stage: groups of hands, the words in pictures, and what its losses reward."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prefgen.agents import CONTINUOUS, is_reserved
from prefgen.recipes.vision import (
    CHOICES,
    N_HANDS,
    ONE_CHANGE_RATE,
    PER_GROUP,
    another_hand,
    cached_words,
    hand_loss,
    hands_at,
    words_in,
)


def wordless(scene) -> tuple[object, ...]:
    return (scene.look, *(scene.continuous[t] for t in CONTINUOUS))


@pytest.mark.parametrize("index", range(12))
def test_a_group_shares_its_words_and_each_hand_draws_two_subjects(index: int) -> None:
    scenes = hands_at(index)
    assert len(scenes) == PER_GROUP == 2 * N_HANDS
    assert all(scene.values == scenes[0].values for scene in scenes)
    assert len({scene.subject for scene in scenes}) == PER_GROUP
    assert len({scene.seed for scene in scenes}) == PER_GROUP
    hands = [wordless(scene) for scene in scenes]
    assert hands[0::2] == hands[1::2]
    assert len(set(hands)) == N_HANDS
    assert not any(is_reserved(s.subject, v) for s in scenes for v in s.values.values())


def test_hands_of_most_groups_differ_from_the_first_in_one_thing() -> None:
    def changes(index: int) -> list[int]:
        first, *others = [wordless(scene) for scene in hands_at(index)[::2]]
        return [sum(a != b for a, b in zip(first, other)) for other in others]

    counts = [changes(i) for i in range(200)]
    alone = [all(n == 1 for n in group) for group in counts]
    assert abs(np.mean(alone) - ONE_CHANGE_RATE) < 0.1
    assert all(min(group) >= 5 for group, one in zip(counts, alone) if not one)


def test_groups_are_pure_and_splits_differ() -> None:
    assert hands_at(3) == hands_at(3)
    assert hands_at(3) != hands_at(3, "validation")
    assert hands_at(3) != hands_at(3, seed=1)


@pytest.mark.parametrize("thing", ["look", *CONTINUOUS])
def test_another_hand_differs_clearly_and_in_that_thing_alone(thing: str) -> None:
    rng = np.random.default_rng(0)
    for index in range(20):
        scene = hands_at(index)[0]
        other = another_hand(rng, scene, thing)
        if thing == "look":
            assert other.look != scene.look
            assert other.continuous == scene.continuous
        else:
            moved = {t for t in CONTINUOUS if other.continuous[t] != scene.continuous[t]}
            assert moved == {thing}
            assert other.look == scene.look
            assert abs(other.continuous[thing] - scene.continuous[thing]) >= 0.6
            assert abs(other.continuous[thing]) <= 1


def test_words_are_numbered_from_one_and_missing_ones_are_zero() -> None:
    scene = hands_at(0)[0]
    numbers = dict(zip(CHOICES, words_in(scene)))
    assert CHOICES["subject"][numbers["subject"] - 1] == scene.subject
    for family, number in numbers.items():
        if family not in ("subject", "setting"):
            assert scene.values.get(family) == (CHOICES[family][number - 1] if number else None)


def test_the_hand_loss_rewards_finding_the_other_picture_by_the_hand() -> None:
    hands = torch.eye(N_HANDS).repeat_interleave(2, 0)[None].expand(3, -1, -1)
    scale = torch.tensor(4.0)
    assert hand_loss(hands, scale) < 0.01
    shifted = hands.roll(1, 1)
    assert hand_loss(shifted, scale) > 5
    same = torch.ones(3, PER_GROUP, 4)
    assert hand_loss(same, scale) == pytest.approx(np.log(PER_GROUP - 1), abs=1e-4)


def test_words_are_read_once_and_extended_when_more_are_asked_for(tmp_path) -> None:
    asked: list[int] = []

    def row(i: int) -> list[int]:
        asked.append(i)
        return [i, i + 1]

    path = tmp_path / "deep" / "words.npy"
    assert cached_words(path, 3, row).tolist() == [[0, 1], [1, 2], [2, 3]]
    assert cached_words(path, 2, row).tolist() == [[0, 1], [1, 2]]
    assert asked == [0, 1, 2]
    assert len(cached_words(path, 4, row)) == 4
    assert asked == [0, 1, 2, 0, 1, 2, 3]
