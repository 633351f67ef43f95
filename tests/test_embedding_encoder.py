"""The user encoder's file, and sides that are read by the same weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prefgen.core import ModelError
from prefgen.embedding import SideFeatures, UserEncoder, UserEncoderConfig
from prefgen.embedding.election import MAX_FACETS, elected, facets

CONFIG = UserEncoderConfig(
    d_lm=4, d_clip=5, d_text=8, d_cross=6, n_tokens=3, sem_layers=(0,), core_layers=(1,), vote_width=12
)


def features(seed: int) -> SideFeatures:
    torch.manual_seed(seed)
    return SideFeatures(
        last=torch.randn(2, 2, 4), mean=torch.randn(2, 2, 4), images=torch.randn(2, 3, 5), weights=torch.ones(2, 3)
    )


@pytest.mark.parametrize("one_reading", [False, True])
def test_sides_share_their_weights_only_when_asked(one_reading, tmp_path):
    encoder = UserEncoder(replace(CONFIG, one_reading=one_reading)).eval()
    made = encoder(features(0), features(0))
    assert torch.equal(made["like"], made["dislike"]) == one_reading
    encoder.save(tmp_path, torch.float32)
    again = UserEncoder.load(tmp_path)
    assert again.config == encoder.config
    for side, tokens in again(features(1), features(2)).items():
        torch.testing.assert_close(tokens, encoder(features(1), features(2))[side])


def test_shared_weights_are_stored_once(tmp_path):
    for one_reading in (False, True):
        UserEncoder(replace(CONFIG, one_reading=one_reading)).save(tmp_path / str(one_reading), torch.float32)
    sizes = [(tmp_path / str(one) / "model.safetensors").stat().st_size for one in (False, True)]
    assert sizes[1] < 0.6 * sizes[0]


def test_a_file_of_two_readings_is_not_taken_for_one(tmp_path):
    UserEncoder(CONFIG).save(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"one_reading": false', '"one_reading": true'))
    with pytest.raises(ModelError, match="expected a user encoder"):
        UserEncoder.load(tmp_path)


def tokens_near(*places: float, n_tokens: int = 1, d: int = 4) -> torch.Tensor:
    """[n, n_tokens, d], one picture a place."""
    return torch.tensor(places)[:, None, None].expand(-1, n_tokens, d).clone()


def choose(candidates: torch.Tensor, against: torch.Tensor, whole: float, weights: list[float] | None = None) -> float:
    given = torch.tensor(weights or [1.0] * len(candidates))
    far = torch.full(candidates.shape[1:], whole)
    return elected(candidates, given, against, torch.ones(len(against)), far, 0.25)[0, 0].item()


def test_the_majority_is_elected_and_never_a_mean():
    nobody = tokens_near()
    assert choose(tokens_near(0.0, 3.0, 3.1), nobody, 99.0) in (3.0, pytest.approx(3.1))
    assert choose(tokens_near(0.0, 3.0), nobody, 1.6) == 3.0, "the whole embedding decides where pictures differ"
    assert choose(tokens_near(0.0, 3.0), nobody, 99.0) == 0.0, "the earlier picture on a draw"


def test_disliked_pictures_vote_against_and_heavy_ones_count_more():
    assert choose(tokens_near(3.0, 3.1, 0.0), tokens_near(3.0, 3.1), 99.0) == 0.0
    assert choose(tokens_near(3.0, 3.1, 0.0), tokens_near(), 99.0, [1.0, 1.0, 5.0]) == 0.0


def test_each_token_is_elected_by_itself():
    candidates = torch.stack([tokens_near(0.0, 5.0, 5.0)[:, 0], tokens_near(2.0, 2.0, 7.0)[:, 0]], 1)
    whole = torch.full((2, 4), 99.0)
    chosen = elected(candidates, torch.ones(3), candidates[:0], torch.ones(0), whole, 0.25)
    assert chosen[:, 0].tolist() == [5.0, 2.0]


def test_a_person_of_one_picture_is_that_picture_and_without_an_election_the_whole():
    encoder = UserEncoder(replace(CONFIG, election_width=0.25)).eval()
    seen, nothing = torch.randn(1, 5), (torch.zeros(0, 5), torch.zeros(0))
    whole = torch.randn(3, 6)
    with torch.no_grad():
        chosen = encoder.person_tokens("like", whole, (seen, torch.ones(1)), nothing)
        torch.testing.assert_close(chosen, encoder.like.picture_tokens(seen))
        assert torch.equal(encoder.person_tokens("like", whole, nothing, (seen, torch.ones(1))), whole[None])
        plain = UserEncoder(CONFIG).eval()
        assert torch.equal(plain.person_tokens("like", whole, (seen, torch.ones(1)), nothing), whole[None])


def facets_of(*pictures: tuple[float, float], voices: list[float] | None = None) -> list[list[float]]:
    """What is elected and its facets, of pictures with two tokens each: [[first token, second token], …]."""
    candidates = torch.tensor(pictures)[..., None].expand(-1, -1, 4).clone()
    weights = torch.ones(len(pictures)) if voices is None else torch.tensor(voices)
    far = torch.full(candidates.shape[1:], 99.0)
    found, _ = facets(candidates, weights, candidates[:0], torch.ones(0), far, 0.25)
    return found[..., 0].tolist()


def test_who_likes_two_things_has_a_facet_of_each_and_of_no_blend():
    two_tastes = [(1.0, 2.0), (5.0, 6.0), (1.0, 2.0), (5.0, 6.0), (1.0, 2.0)]
    assert facets_of(*two_tastes) == [[1.0, 2.0], [1.0, 2.0], [5.0, 6.0]]


def test_one_taste_has_one_facet_and_one_picture_none():
    assert facets_of((1.0, 2.0), (1.0, 2.0)) == [[1.0, 2.0], [1.0, 2.0]]
    assert facets_of((1.0, 2.0)) == [[1.0, 2.0]]


def test_a_picture_without_a_voice_leads_no_facet():
    assert facets_of((1.0, 2.0), (5.0, 6.0), (1.0, 2.0), voices=[1.0, 0.1, 1.0]) == [[1.0, 2.0], [1.0, 2.0]]
    assert facets_of((1.0, 2.0), (5.0, 6.0), voices=[0.0, 0.0]) == [[1.0, 2.0]], "nobody is trusted, nobody leads"


def test_facets_are_bounded_and_the_heaviest_lead():
    many = [(float(i), float(i)) for i in range(0, 40, 2)]
    found = facets_of(*many, voices=[1.0] * 19 + [2.0])
    assert len(found) == 1 + MAX_FACETS
    assert found[-1] == [38.0, 38.0]


def test_what_is_disliked_leads_no_facet_towards_it():
    candidates = torch.tensor([1.0, 5.0, 5.1])[:, None, None].expand(-1, 1, 4).clone()
    far = torch.full((1, 4), 99.0)
    found, _ = facets(candidates, torch.ones(3), candidates[1:], 3 * torch.ones(2), far, 0.25)
    assert found[0, 0, 0] == 1.0
