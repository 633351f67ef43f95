"""User tokens that learn where the words of a taste lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prefgen.agents import training_person
from prefgen.agents.scene import caption_of, prompt_of
from prefgen.agents.vocabulary import FAMILIES, all_values
from prefgen.embedding import PARTS, SideFeatures, UserEncoder, UserEncoderConfig
from prefgen.recipes.adapter_words import (
    SILENT_WEIGHT,
    PeopleWords,
    drawn_to_strings,
    echo_loss,
    said_tokens,
    scene_targets,
    word_loss,
    word_targets,
)
from prefgen.recipes.adapters import TwinRows
from prefgen.recipes.liked_rows import TEACHER_LEAVES, TEACHER_SHARE, LikedRows, teacher_share
from prefgen.recipes.pictures import scene_at
from prefgen.recipes.population import N_COLUMNS, person_pictures
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
    spoken = said_tokens(encoder)(shown, "dislike")
    features = SideFeatures(
        last=torch.randn(3, 2, 4), mean=torch.randn(3, 2, 4), images=shown[:, None], weights=torch.ones(3, 1)
    )
    side = encoder.side("dislike")
    alone = side.tokens(side.embed(features), {part: torch.full((3,), part == "img") for part in PARTS})
    torch.testing.assert_close(spoken, alone)
    assert not torch.allclose(spoken, said_tokens(encoder)(shown, "like"))


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


def twins_of_forty() -> Twins:
    """Pictures whose latents, embeddings and twins' embeddings tell their number."""
    numbers = torch.arange(40, dtype=torch.float16)[:, None]
    return Twins(
        latents=numbers.numpy()[:, :, None, None] * np.ones((1, 1, 2, 2), dtype=np.float16),
        clip=(100 + numbers).expand(40, 3),
        own=(200 + numbers).expand(40, 3),
        seed=0,
    )


def test_what_is_heard_painted_and_looked_for_is_of_one_pair_of_twins() -> None:
    rows = TwinRows(twins_of_forty(), np.random.default_rng(3), 64, disliked_rows=0.4)
    painted = rows.latents[:, 0, 0, 0]
    assert torch.equal(rows.clip[:, 0], 100 + painted)
    assert torch.equal(rows.target_clip[:, 0], 200 + painted)
    for number, prompt in zip(painted.tolist(), rows.prompts):
        assert prompt == "" or prompt.startswith(prompt_of(scene_at("train", int(number))))


def test_a_row_hears_one_side_or_nobody_and_disliked_ones_mostly_lack_a_prompt() -> None:
    rows = TwinRows(twins_of_forty(), np.random.default_rng(4), 2000, disliked_rows=0.4)
    like, dislike = rows.heard["like"], rows.heard["dislike"]
    assert not bool((like & dislike).any())
    assert 0.05 < (~like & ~dislike).float().mean() < 0.11
    assert 0.34 < dislike.float().mean() < 0.40
    empty = torch.tensor([prompt == "" for prompt in rows.prompts])
    assert 0.44 < empty[dislike].float().mean() < 0.56
    assert 0.06 < empty[like].float().mean() < 0.14
    alone = TwinRows(twins_of_forty(), np.random.default_rng(4), 200)
    assert not bool(alone.heard["dislike"].any())


def test_liked_rows_paint_what_the_person_would_love() -> None:
    people = type(
        "People",
        (),
        {
            "person": lambda self, user: person_pictures(user, "train"),
            "clip": torch.arange(6.0)[:, None, None].expand(6, N_COLUMNS, 3),
            "__len__": lambda self: 6,
        },
    )()
    latents = np.arange(6, dtype=np.float16)[:, None, None, None, None] * np.ones((1, 8, 1, 2, 2), dtype=np.float16)
    rows = LikedRows(people, latents, np.random.default_rng(0), 6)  # type: ignore[arg-type]
    assert rows.latents[:, 0, 0, 0].tolist() == rows.users
    assert rows.target_clip[:, 0].tolist() == rows.users
    for user, told, prompt in zip(rows.users, rows.told, rows.prompts):
        loved = {caption_of(scene) for scene in person_pictures(user, "train").liked}
        assert told in loved
        assert prompt == "" or any(caption.startswith(prompt.split(",")[0]) for caption in loved)


def test_whole_people_are_drawn_to_their_words_and_strings() -> None:
    """The loss falls to nothing where tokens say the words, and alignment is left out where a model has no `e_sem`."""
    words = PeopleWords.__new__(PeopleWords)
    words.sides, words.n_people, words.align = ("like",), 5, drawn_to_strings
    targets = torch.randn(5, len(FAMILIES), 4)
    words.words, words.strings = {"like": (targets, torch.ones(5, len(FAMILIES)))}, {"like": torch.randn(5, 4)}
    words.tokens_of = lambda users, variants, side: (targets[users], None)
    assert words(np.random.default_rng(0), 4)["loss"].item() == 0
    words.tokens_of = lambda users, variants, side: (targets[users] + 1, words.strings["like"][users])
    parts = words(np.random.default_rng(0), 4)
    assert parts["words"].item() == pytest.approx(1.0)
    assert parts["mmd"].item() == pytest.approx(0.0, abs=1e-5) or parts["mmd"].item() < 0
    assert parts["loss"].item() == pytest.approx((parts["words"] + parts["mmd"] + parts["own"]).item())
