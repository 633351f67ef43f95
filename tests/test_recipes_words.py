"""User tokens that learn where the words of a taste lie."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from prefgen.agents import training_person
from prefgen.agents.scene import caption_of
from prefgen.agents.vocabulary import FAMILIES, all_values
from prefgen.embedding import PARTS, SideFeatures, UserEncoder, UserEncoderConfig
from prefgen.recipes.adapter_words import (
    SILENT_WEIGHT,
    echo_loss,
    picture_tokens,
    scene_targets,
    word_loss,
    word_targets,
)
from prefgen.recipes.adapters import (
    ONE_PART_RATE,
    TEACHER_LEAVES,
    TEACHER_SHARE,
    TWIN_LEAST,
    TWIN_ROWS,
    Rows,
    kept_parts,
    row_shares,
    teacher_share,
    twin_share,
    with_elections,
    with_twins,
)
from prefgen.recipes.pictures import scene_at
from prefgen.recipes.population import N_COLUMNS, N_DISLIKED_TARGETS, N_LIKED_TARGETS, person_pictures
from prefgen.recipes.twins import Twins


def states_of_all_values() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {value: torch.randn(4, generator=generator) for value in ("", *all_values())}


@pytest.mark.parametrize("liked", [True, False])
def test_targets_are_the_mean_states_of_present_opinions(liked: bool) -> None:
    states = states_of_all_values()
    people = [training_person(i) for i in range(12)]
    targets, weights = word_targets(people, states, liked=liked)
    for row, person in enumerate(people):
        tastes = [t.likes if liked else t.dislikes for t in person.current_tastes()]
        for column, family in enumerate(FAMILIES):
            values = [v for taste in tastes for v in taste.get(family, ())]
            assert weights[row, column] == (1.0 if values else SILENT_WEIGHT)
            mean = sum(states[v] for v in values) / len(values) if values else states[""]
            torch.testing.assert_close(targets[row, column], mean)


def test_loss_counts_families_by_weight() -> None:
    targets, held = torch.zeros(2, 3, 4), torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    tokens = torch.zeros(2, 5, 4)
    tokens[0, 1:], tokens[1, 0], tokens[1, 2:] = 7, 7, 7
    assert word_loss(tokens, targets, held) == 0
    tokens[1, 1] = 2
    assert word_loss(tokens, targets, held) == pytest.approx(2)
    assert word_loss(tokens[:, :1], targets, held) == 0, "families beyond the tokens are left out"


def test_nobody_with_an_opinion_costs_nothing() -> None:
    nobody = torch.zeros(2, 3)
    assert word_loss(torch.ones(2, 3, 4), torch.zeros(2, 3, 4), nobody) == 0


def test_a_picture_says_its_own_words_and_is_silent_elsewhere() -> None:
    states = states_of_all_values()
    scenes = [scene_at("train", i) for i in range(20)]
    targets, weights = scene_targets(scenes, states)
    assert targets.shape == (20, len(FAMILIES), 4)
    for row, scene in enumerate(scenes):
        for column, family in enumerate(FAMILIES):
            value = scene.values.get(family, "")
            assert torch.equal(targets[row, column], states[value])
            assert weights[row, column] == (1.0 if value else SILENT_WEIGHT)


def test_one_picture_speaks_as_a_side_of_that_picture_alone() -> None:
    config = UserEncoderConfig(
        d_lm=4, d_clip=5, d_text=8, d_cross=6, n_tokens=3, sem_layers=(0,), core_layers=(1,), vote_width=12
    )
    torch.manual_seed(0)
    encoder = UserEncoder(config)
    shown = torch.randn(3, 5)
    spoken = picture_tokens(encoder)(shown, "dislike")
    features = SideFeatures(
        last=torch.randn(3, 2, 4), mean=torch.randn(3, 2, 4), images=shown[:, None], weights=torch.ones(3, 1)
    )
    side = encoder.side("dislike")
    alone = side.tokens(side.embed(features), {part: torch.full((3,), part == "img") for part in PARTS})
    torch.testing.assert_close(spoken, alone)
    assert not torch.allclose(spoken, picture_tokens(encoder)(shown, "like"))


def test_tokens_beyond_the_families_repeat_the_picture() -> None:
    """Least squares from the embedding alone brings the loss near nothing, and from another picture's it does not."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(40, 6, generator=generator)
    tokens = torch.randn(40, len(FAMILIES) + 2, 5, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([tokens], 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        echo_loss(tokens, seen).backward()
        optimizer.step()
    assert echo_loss(tokens, seen).item() < 1e-3
    assert echo_loss(tokens, seen.roll(1, 0)).item() > 0.5
    assert echo_loss(tokens.roll(1, 0), seen.roll(1, 0)).item() < 1e-3
    free = tokens[:, len(FAMILIES) :].detach()
    assert not torch.allclose(free[:, 0], free[:, 1], atol=0.1), "each token sees it turned another way"
    assert echo_loss(tokens[:, : len(FAMILIES)], seen).item() == 0


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


def test_rows_that_hear_a_twin_hear_it_alone() -> None:
    features = SideFeatures(
        last=torch.zeros(3, 2, 4), mean=torch.zeros(3, 2, 4), images=torch.randn(3, 4, 5), weights=torch.ones(3, 4)
    )
    rows = SimpleNamespace(twin=torch.tensor([True, False, True]), twin_clip=torch.randn(3, 5))
    heard = with_twins(features, rows)  # type: ignore[arg-type]
    assert torch.equal(heard.images[[0, 2], 0], rows.twin_clip[[0, 2]])
    assert heard.weights.tolist() == [[1, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert torch.equal(heard.images[1], features.images[1])
    assert bool((features.weights == 1).all())


def test_rows_with_twins_paint_the_picture_whose_twin_they_hear() -> None:
    people = type(
        "People",
        (),
        {
            "person": lambda self, u: person_pictures(u, "train"),
            "__len__": lambda self: 6,
            "clip": -torch.ones(6, N_COLUMNS, 3),
        },
    )()
    latents = np.zeros((6, N_LIKED_TARGETS + N_DISLIKED_TARGETS, 1, 2, 2), dtype=np.float16)
    twins = Twins(
        latents=np.arange(1, 41, dtype=np.float16)[:, None, None, None] * np.ones((1, 1, 2, 2), dtype=np.float16),
        clip=torch.arange(1, 41, dtype=torch.float16)[:, None].expand(40, 3),
        own=100 + torch.arange(1, 41, dtype=torch.float16)[:, None].expand(40, 3),
        seed=0,
    )
    rows = Rows(people, latents, np.random.default_rng(3), 6, twins=twins, twin_share=0.5)  # type: ignore[arg-type]
    assert 0 < int(rows.twin.sum()) < 6
    painted = rows.latents[:, 0, 0, 0]
    assert torch.equal(painted[rows.twin], rows.twin_clip[rows.twin, 0]), "target and embedding are of one pair"
    assert bool((painted[~rows.twin] == 0).all())
    assert torch.equal(rows.target_clip[rows.twin, 0], 100 + painted[rows.twin]), "the eye looks for the target"
    assert bool((rows.target_clip[~rows.twin] == -1).all())
    assert not bool((rows.elected & rows.twin).any())
    for row in rows.twin.nonzero()[:, 0].tolist():
        shown = scene_at("train", int(painted[row]) - 1)
        assert rows.told[row] == caption_of(shown)
        assert not rows.keep["like"]["sem"][row]
        assert not rows.keep["dislike"]["core"][row]
        assert bool(rows.keep["like"]["img"][row])


def test_people_are_heard_through_elected_tokens_in_the_rows_that_say_so() -> None:
    config = UserEncoderConfig(
        d_lm=4, d_clip=5, d_text=8, d_cross=6, n_tokens=3, sem_layers=(0,), core_layers=(1,), election_width=0.25
    )
    encoder = UserEncoder(config).eval()
    images, weights = torch.randn(2, 4, 5), torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0]])
    own = SideFeatures(last=torch.zeros(2, 2, 4), mean=torch.zeros(2, 2, 4), images=images, weights=weights)
    others = replace(own, weights=torch.tensor([[0.0, 0, 0, 0], [0, 0, 1, 1]]))
    whole = torch.randn(2, 3, 6)
    with torch.no_grad():
        heard = with_elections(encoder, "like", whole, own, others, torch.tensor([False, True]))
        chosen = encoder.person_tokens("like", whole[1], (images[1, :2], torch.ones(2)), (images[1, 2:], torch.ones(2)))
    assert torch.equal(heard[0], whole[0])
    assert torch.equal(heard[1], chosen)
    assert not torch.equal(heard[1], whole[1])


def test_the_teacher_is_not_asked_about_twins() -> None:
    rows = SimpleNamespace(twin=torch.tensor([True, False, True]))
    torch.testing.assert_close(row_shares(rows, 0.7), torch.tensor([0.0, 0.7, 0.0]))  # type: ignore[arg-type]


def test_twins_grow_rarer_and_never_leave() -> None:
    shares = [twin_share(k / 100) for k in range(101)]
    assert shares[0] == TWIN_ROWS
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(TWIN_LEAST)
