"""User tokens that learn where the words of a taste lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prefgen.agents import training_person
from prefgen.agents.vocabulary import FAMILIES, all_values
from prefgen.embedding import PARTS, SideFeatures
from prefgen.recipes.adapter_words import word_loss, word_targets
from prefgen.recipes.adapters import (
    ONE_PART_RATE,
    OWN_PICTURE_LEAST,
    OWN_PICTURE_ROWS,
    TEACHER_LEAVES,
    TEACHER_SHARE,
    kept_parts,
    own_picture_share,
    teacher_share,
    with_own_pictures,
)
from prefgen.recipes.population import N_COLUMNS, N_HISTORY


def states_of_all_values() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {value: torch.randn(4, generator=generator) for value in all_values()}


@pytest.mark.parametrize("liked", [True, False])
def test_targets_are_the_mean_states_of_present_opinions(liked: bool) -> None:
    states = states_of_all_values()
    people = [training_person(i) for i in range(12)]
    targets, held = word_targets(people, states, liked=liked)
    for row, person in enumerate(people):
        tastes = [t.likes if liked else t.dislikes for t in person.current_tastes()]
        for column, family in enumerate(FAMILIES):
            values = [v for taste in tastes for v in taste.get(family, ())]
            assert bool(held[row, column]) == bool(values)
            if values:
                mean = sum(states[v] for v in values) / len(values)
                torch.testing.assert_close(targets[row, column], mean)


def test_loss_counts_held_families_alone() -> None:
    targets, held = torch.zeros(2, 3, 4), torch.tensor([[True, False, False], [False, True, False]])
    tokens = torch.zeros(2, 5, 4)
    tokens[0, 1:], tokens[1, 0], tokens[1, 2:] = 7, 7, 7
    assert word_loss(tokens, targets, held) == 0
    tokens[1, 1] = 2
    assert word_loss(tokens, targets, held) == pytest.approx(2)
    assert word_loss(tokens[:, :1], targets, held) == 0, "families beyond the tokens are left out"


def test_nobody_with_an_opinion_costs_nothing() -> None:
    nobody = torch.zeros(2, 3, dtype=torch.bool)
    assert word_loss(torch.ones(2, 3, 4), torch.zeros(2, 3, 4), nobody) == 0


def test_the_teacher_has_left_before_the_training_ends():
    shares = [teacher_share(k / 100) for k in range(101)]
    assert shares[0] == shares[int(100 * TEACHER_LEAVES[0])] == TEACHER_SHARE
    assert shares == sorted(shares, reverse=True)
    assert shares[int(100 * TEACHER_LEAVES[1])] == pytest.approx(0.0, abs=1e-9)
    assert shares[100] == 0.0


def test_each_part_is_heard_alone_in_some_rows_and_all_parts_in_most():
    kept = kept_parts(np.random.default_rng(0), 20_000)
    heard = sum(kept[part].float() for part in PARTS)
    assert 0.5 < (heard == len(PARTS)).float().mean() < 0.6
    for part in PARTS:
        alone = ((heard == 1) & kept[part]).float().mean()
        assert alone > ONE_PART_RATE / len(PARTS)


def test_rows_that_hear_their_own_picture_hear_it_alone() -> None:
    from types import SimpleNamespace

    clip = torch.randn(3, N_COLUMNS, 5)
    features = SideFeatures(
        last=torch.zeros(3, 2, 4), mean=torch.zeros(3, 2, 4), images=torch.randn(3, 4, 5), weights=torch.ones(3, 4)
    )
    rows = SimpleNamespace(own=torch.tensor([True, False, True]), users=[2, 0, 1], columns=[1, 0, 6])
    heard = with_own_pictures(features, SimpleNamespace(clip=clip), rows)  # type: ignore[arg-type]
    assert torch.equal(heard.images[0, 0], clip[2, N_HISTORY + 1])
    assert torch.equal(heard.images[2, 0], clip[1, N_HISTORY + 6])
    assert heard.weights.tolist() == [[1, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert torch.equal(heard.images[1], features.images[1])
    assert bool((features.weights == 1).all())


def test_own_pictures_grow_rarer_and_never_leave() -> None:
    shares = [own_picture_share(k / 100) for k in range(101)]
    assert shares[0] == OWN_PICTURE_ROWS
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(OWN_PICTURE_LEAST)
