"""What words explain of an embedding and what they do not, on embeddings of which both are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from prefgen.embedding import Manner, UserEncoder, UserEncoderConfig
from prefgen.embedding.manner import mean_manner

N, D_CLIP = 4000, 13


def made_pictures(n: int = N, once: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings [n, 13] in which two families of words, two degrees and what only one picture shows (drawn anew for
    each `once`) lie mixed; the words [n, 2], the degrees."""
    dice = torch.Generator().manual_seed(0)
    mix = torch.randn(11, D_CLIP, generator=dice)
    words = torch.stack([torch.randint(0, 5, (n,), generator=dice), torch.randint(0, 3, (n,), generator=dice)], 1)
    degrees = 0.3 * (2 * torch.rand(n, 2, generator=dice) - 1)
    said = torch.cat([torch.nn.functional.one_hot(words[:, 0], 5), torch.nn.functional.one_hot(words[:, 1], 3)], 1)
    only_here = 0.3 * torch.randn(n, 1, generator=torch.Generator().manual_seed(1 + once))
    return torch.cat([said.float(), degrees, only_here], 1) @ mix, words, degrees


def fitted() -> Manner:
    """The manner of those pictures."""
    embeddings, words, _ = made_pictures()
    return Manner.fit(embeddings, made_pictures(once=1)[0], words)


def explained_share(of: Tensor, by: Tensor) -> float:
    """R² of the linear reading of `of` [n, k] from `by` [n, d]."""
    of, by = (x.double() - x.double().mean(0) for x in (of, by))
    left = of - by @ torch.linalg.lstsq(by, of, driver="gelsd").solution
    return 1 - float(left.square().sum() / of.square().sum())


def test_words_and_manner_are_told_apart():
    embeddings, words, degrees = made_pictures()
    said, unsaid = fitted()(embeddings)
    first = torch.nn.functional.one_hot(words[:, 0]).float()
    assert explained_share(degrees, unsaid) > 0.99
    assert explained_share(first, unsaid) < 0.01
    assert explained_share(first, said) > 0.99
    assert explained_share(said, degrees) < 0.01


def test_the_manner_has_unit_variance_however_faint_it_is():
    unsaid = fitted()(made_pictures()[0])[1]
    torch.testing.assert_close(unsaid.T @ unsaid / N, torch.eye(unsaid.shape[1]), atol=1e-2, rtol=0)


def test_what_only_one_picture_shows_is_no_manner():
    (embeddings, _, degrees), (others, _, _) = made_pictures(), made_pictures(once=1)
    manner = fitted()
    unsaid, of_twins = manner(embeddings)[1], manner(others)[1]
    assert unsaid.shape[1] == degrees.shape[1], "as many directions as degrees"
    assert (of_twins - unsaid).square().mean() < 0.02


def test_a_dimension_is_followed_as_far_as_people_keep_to_it():
    dice = torch.Generator().manual_seed(0)
    manner = Manner(D_CLIP, 3)
    taste = torch.randn(N, 3, generator=dice)
    own = taste + torch.tensor([0.1, 0.1, 3.0]) * torch.randn(N, 3, generator=dice)
    others = taste * torch.tensor([-1.0, 0, 0]) + torch.randn(N, 3, generator=dice)
    manner.learn_to_follow(own, others, taste)
    assert manner.own_share[1] == pytest.approx(1, abs=0.05)
    assert manner.own_share[2] == pytest.approx(0.1, abs=0.03), "what own pictures hardly tell is hardly followed"
    assert manner.others_share[0] < -0.005, "dislikes speak where they mirror likes"
    torch.testing.assert_close(manner.others_share[1:], torch.zeros(2), atol=0.02, rtol=0)


def test_a_manner_is_followed_towards_likes_and_away_from_dislikes():
    manner, own, other = Manner(D_CLIP, 2), torch.tensor([1.0, 0.5]), torch.tensor([-1.0, 0.0])
    alone, against = manner.followed(own, None), manner.followed(own, other)
    assert (alone * own > 0).all()
    assert against[0] > alone[0], "what the other side has the opposite of is followed further"
    assert against[1] == alone[1], "of what the other side has nothing to say it is not"


def test_a_weight_counts_like_copies():
    manner = torch.randn(3, 4)
    heavy = mean_manner(manner, torch.tensor([2.0, 1.0, 0.0]))
    torch.testing.assert_close(heavy, mean_manner(manner[[0, 0, 1]], torch.ones(3)))
    assert torch.equal(mean_manner(manner, torch.zeros(3)), torch.zeros(4)), "of nobody there is no manner"


@pytest.fixture(name="encoder")
def _encoder() -> UserEncoder:
    manner = fitted()
    torch.manual_seed(0)
    config = UserEncoderConfig(
        d_lm=4, d_clip=D_CLIP, d_text=8, d_cross=6, n_tokens=5, sem_layers=(0,), core_layers=(0,), vote_width=16,
        one_reading=True, election_width=0.25, manner_tokens=2, d_manner=manner.whiten.shape[1],
    )  # fmt: skip
    return UserEncoder(config).fitted(manner).eval()


@torch.no_grad()
def test_words_are_elected_and_the_manner_is_averaged(encoder: UserEncoder):
    likes, dislikes = made_pictures()[0][:3], made_pictures()[0][3:5]
    own, others = (likes, torch.ones(3)), (dislikes, torch.ones(2))
    chosen = encoder.person_tokens("like", torch.zeros(5, 6), own, others)
    candidates = encoder.like.picture_tokens(likes)
    for token in chosen[0, :3]:
        assert any(torch.allclose(token, one) for one in candidates[:, :3].flatten(0, 1))
    manner = encoder.like.manner.followed(*(encoder.like.manner_of(x, w) for x, w in (own, others)))
    torch.testing.assert_close(chosen[0, 3:], encoder.like.manner_projector(manner[None])[0])
    assert not any(torch.allclose(chosen[0, 3:], one) for one in candidates[:, 3:])


@torch.no_grad()
def test_tokens_that_say_words_do_not_hear_the_manner(encoder: UserEncoder):
    embeddings, words, degrees = made_pictures()
    same = (words == words[0]).all(1) & ((degrees - degrees[0]).abs().amax(1) > 0.1)
    two = torch.stack([embeddings[0], embeddings[same][0]])
    first, second = encoder.like.picture_tokens(two)
    torch.testing.assert_close(first[:3], second[:3], atol=2e-2, rtol=0)
    assert (first[3:] - second[3:]).abs().max() > 0.1


@torch.no_grad()
def test_the_split_survives_the_file(encoder: UserEncoder, tmp_path):
    encoder.save(tmp_path)
    shown = made_pictures()[0][:4]
    again = UserEncoder.load(tmp_path).like.picture_tokens(shown)
    torch.testing.assert_close(again, encoder.like.picture_tokens(shown), atol=5e-2, rtol=0)
