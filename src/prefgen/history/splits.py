"""Train, validation and test users, split by identity: nobody's pictures stand on two sides."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, TypeAlias

from prefgen.core import ConfigError, seed_of

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_STEPS = 10**9


def split_of(
    user_id: str | int, *, train: float = 0.8, validation: float = 0.1, test: float = 0.1, seed: int = 0
) -> Split:
    """The split a user belongs to: a hash of who they are, so it never changes as other users come and go.

    The three fractions are expected shares and sum to 1. Growing `train` at the expense of `validation` moves no test
    user. A user's number and the same digits as text are one user.

    Raises:
        ConfigError: a fraction is negative or not finite, or they do not sum to 1.
    """
    fractions = (train, validation, test)
    if not all(math.isfinite(share) and share >= 0 for share in fractions) or not math.isclose(sum(fractions), 1.0):
        raise ConfigError(
            f"expected three shares of 1, got {train} + {validation} + {test}", hint="such as 0.8, 0.1, 0.1"
        )
    place = seed_of("user split", seed, user_id) % _STEPS
    if place < round(test * _STEPS):
        return "test"
    if place < round((test + validation) * _STEPS):
        return "validation"
    return "train"


def split_users(
    user_ids: Iterable[str | int], *, train: float = 0.8, validation: float = 0.1, test: float = 0.1, seed: int = 0
) -> dict[Split, tuple[str, ...]]:
    """Every user once, under the split of `split_of`, in the order first met.

    Raises:
        ConfigError: as `split_of`.
    """
    users: dict[Split, dict[str, None]] = {split: {} for split in SPLITS}
    for user_id in user_ids:
        split = split_of(user_id, train=train, validation=validation, test=test, seed=seed)
        users[split][str(user_id)] = None
    return {split: tuple(names) for split, names in users.items()}
