"""Records of user tokens: laying out, joining, and what nobody looks like."""

from __future__ import annotations

import pytest
import torch

from prefgen.adapter import UserTokens, concatenate_users, facet_of, with_unconditional
from prefgen.core import InputError
from tiny_diffusion import random_tokens


def test_rows_repeat_as_a_pipeline_repeats_prompts() -> None:
    tokens = random_tokens(2).repeat(3)
    assert len(tokens) == 6
    assert torch.equal(tokens.like[:3], random_tokens(2).like[:1].expand(3, -1, -1))


def test_joining_fills_missing_people_and_groups_with_nobody() -> None:
    only_likes = UserTokens(like=random_tokens(2).like)
    joined = concatenate_users([only_likes, None, random_tokens(1)])
    assert len(joined) == 4
    assert joined.like[2].abs().max() == 0
    assert joined.dislike[:3].abs().max() == 0
    assert torch.equal(joined.dislike[3], random_tokens(1).dislike[0])
    assert concatenate_users([None, None]).like is None


def test_unconditional_rows_come_first() -> None:
    tokens, other = random_tokens(2), random_tokens(2, seed=1)
    assert with_unconditional(tokens).like[:2].abs().max() == 0
    assert torch.equal(with_unconditional(tokens, other).dislike, torch.cat([other.dislike, tokens.dislike]))
    with pytest.raises(InputError, match="expected 2 rows"):
        with_unconditional(tokens, random_tokens(1))


def shown(seed: int, variety: float, n_rows: int = 4) -> int:
    """Which of a person's rows a picture of this seed shows."""
    tokens = UserTokens(like=torch.arange(float(n_rows))[:, None, None].expand(-1, 2, 3))
    row = facet_of(tokens, seed, variety)
    assert len(row) == 1
    return int(row.like[0, 0, 0])


def test_without_variety_or_facets_every_picture_shows_the_whole_taste() -> None:
    assert {shown(seed, 0.0) for seed in range(50)} == {0}
    assert {shown(seed, 1.0, n_rows=1) for seed in range(50)} == {0}


@pytest.mark.parametrize("first", [0, 7, 2**40 + 3])
def test_seeds_that_follow_each_other_share_the_facets_evenly(first: int) -> None:
    rows = [shown(first + k, 0.6) for k in range(20)]
    counts = [rows.count(row) for row in range(4)]
    assert 7 <= counts[0] <= 9, counts
    assert all(3 <= n <= 5 for n in counts[1:]), counts
    assert {shown(first + k, 1.0) for k in range(8)} == {1, 2, 3}


def test_shapes_are_checked_and_dtype_moves() -> None:
    with pytest.raises(InputError, match=r"\[batch, n_tokens, d_cross\]"):
        UserTokens(like=torch.zeros(2, 3))
    with pytest.raises(InputError, match="as many rows of likes"):
        UserTokens(like=torch.zeros(2, 1, 3), dislike=torch.zeros(1, 1, 3))
    assert random_tokens(1).to(dtype=torch.float16).dislike.dtype == torch.float16
    assert len(UserTokens()) == 0
