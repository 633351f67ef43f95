"""Users keep their split whoever else comes, and the shares are as asked."""

from __future__ import annotations

import pytest

from prefgen.core import ConfigError
from prefgen.history import SPLITS, split_of, split_users

USERS = [f"user-{number}" for number in range(4000)]
KNOWN = ["test", "train", "train", "validation", "validation", "train", "validation", "train"]


def test_every_user_stands_in_one_split() -> None:
    splits = split_users(USERS)
    assert tuple(splits) == SPLITS
    assert sorted(user for users in splits.values() for user in users) == sorted(USERS)


def test_the_shares_are_as_asked() -> None:
    splits = split_users(USERS, train=0.6, validation=0.1, test=0.3)
    shares = [len(splits[split]) / len(USERS) for split in SPLITS]
    assert shares == pytest.approx([0.6, 0.1, 0.3], abs=0.03)


def test_more_users_move_nobody() -> None:
    few, many = split_users(USERS[:100]), split_users(reversed(USERS))
    for split in SPLITS:
        assert set(few[split]) <= set(many[split])


def test_known_places_never_change() -> None:
    assert [split_of(user, train=0.4, validation=0.3, test=0.3) for user in USERS[:8]] == KNOWN


def test_test_users_stay_when_validation_shrinks() -> None:
    wide = split_users(USERS, train=0.5, validation=0.3, test=0.2)
    narrow = split_users(USERS, train=0.7, validation=0.1, test=0.2)
    assert wide["test"] == narrow["test"]


def test_duplicates_and_numbers_are_one_user() -> None:
    assert sum(map(len, split_users(["7", 7, "7"]).values())) == 1
    assert split_of(7) == split_of("7")


def test_another_seed_splits_otherwise() -> None:
    assert split_users(USERS, seed=1) != split_users(USERS)


def test_an_empty_share_stays_empty() -> None:
    splits = split_users(USERS, train=1.0, validation=0.0, test=0.0)
    assert len(splits["train"]) == len(USERS)
    assert split_users([]) == dict.fromkeys(SPLITS, ())


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5), (0.0, 0.0, 0.0)])
def test_shares_that_are_none(shares: tuple[float, float, float]) -> None:
    train, validation, test = shares
    with pytest.raises(ConfigError, match="three shares"):
        split_of("a", train=train, validation=validation, test=test)
