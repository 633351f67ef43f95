"""Which facet of a person's taste a picture shows."""

from __future__ import annotations

from prefgen.adapter.tokens import UserTokens

_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: seeds that follow each other fall evenly over [0, 1), whichever comes first."""


def facet_of(tokens: UserTokens, seed: int, variety: float) -> UserTokens:
    """One row of a person's tokens: row 0 (the whole taste), or, for the share `variety` of all seeds, one of the
    facets behind it, each as often as the others. A pure function of the seed, whatever is painted beside it."""
    n_facets = len(tokens) - 1
    place = (seed * _GOLDEN) % 2**64 / 2**64
    if n_facets < 1 or place >= variety:
        return tokens.row(0)
    return tokens.row(1 + min(n_facets - 1, int(place / variety * n_facets)))
