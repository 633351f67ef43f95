"""One generator a picture, so that a picture depends on its own seed alone."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prefgen.core import InputError

_MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Seeding:
    """A CPU generator and its seed for each picture."""

    generators: tuple[torch.Generator, ...]
    seeds: tuple[int, ...]

    @staticmethod
    def of(
        n_pictures: int,
        *,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | Sequence[int] | None = None,
    ) -> Seeding:
        """From a list of generators (used as they are), one generator (a seed is drawn from it for each picture, so the
        first picture is the same however many follow), a first seed, a list of seeds, or nothing: chance.

        Raises:
            InputError: both are given, or a list of another length than the pictures.
        """
        if generator is not None and seed is not None:
            raise InputError("expected a generator or a seed, got both")
        if isinstance(generator, torch.Generator):
            return _from_seeds([_drawn(generator) for _ in range(n_pictures)])
        if generator is not None:
            _check_count(len(generator), n_pictures, "generators")
            return Seeding(generators=tuple(generator), seeds=tuple(g.initial_seed() for g in generator))
        if seed is None:
            return _from_seeds([secrets.randbelow(2**31) for _ in range(n_pictures)])
        if not isinstance(seed, Sequence):
            first = _whole(seed)
            return _from_seeds([first + place for place in range(n_pictures)])
        _check_count(len(seed), n_pictures, "seeds")
        return _from_seeds([_whole(one) for one in seed])


def _whole(seed: object) -> int:
    """A seed as an int: NumPy's integers and 0-d tensors are as good."""
    try:
        return operator.index(seed)  # pyright: ignore[reportArgumentType]
    except TypeError as error:
        raise InputError(f"expected a whole number as seed, got {type(seed).__name__} {seed!r}") from error


def _drawn(generator: torch.Generator) -> int:
    return int(torch.randint(_MAX_SEED, (), generator=generator, device=generator.device))


def _from_seeds(seeds: list[int]) -> Seeding:
    if wrong := [seed for seed in seeds if not 0 <= seed <= _MAX_SEED]:
        raise InputError(f"expected a seed from 0 to {_MAX_SEED}, got {wrong[0]}")
    return Seeding(generators=tuple(torch.Generator().manual_seed(seed) for seed in seeds), seeds=tuple(seeds))


def _check_count(n_given: int, n_pictures: int, what: str) -> None:
    if n_given != n_pictures:
        raise InputError(f"expected {n_pictures} {what}, one for each picture, got {n_given}")
