"""How far to follow: likes and dislikes, each with a strength of its own."""

from __future__ import annotations

from collections.abc import Sequence

from prefgen.benchmark.ablations.asking import Sweep, Variant


def _strengths(name: str, values: Sequence[float]) -> tuple[Variant, ...]:
    return tuple(Variant(label=f"{x:g}", x=x, paints=lambda asking, x=x: asking.ours(**{name: x})) for x in values)


LIKE_STRENGTH = Sweep(
    name="like_strength",
    title="How far to follow what is liked: taste against the prompt",
    variants=_strengths("like_strength", (0.0, 0.3, 0.5, 0.7, 0.9, 1.1, 1.4, 1.8)),
    reference="0",
)
DISLIKE_STRENGTH = Sweep(
    name="dislike_strength",
    title="How far to flee what is disliked",
    variants=_strengths("dislike_strength", (0.0, 0.15, 0.3, 0.5, 0.8, 1.2)),
    reference="0",
)
