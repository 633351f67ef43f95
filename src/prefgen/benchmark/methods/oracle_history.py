"""The information ceiling: told the true attributes of the very pictures that the others only see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from prefgen.agents import FAMILIES, Shown
from prefgen.benchmark.chain import paint_tasks
from prefgen.benchmark.methods.oracle import told_caption
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.tasks import Task
from prefgen.core import numpy_rng


def told_by_history(shown: Sequence[Shown], seed: int = 0) -> tuple[dict[str, str], tuple[str, ...]]:
    """What counting says of labelled pictures: per family the value with the most likes over dislikes (if above 0),
    and every value with more dislikes than likes. Ties are broken by `seed`.
    """
    balance: Counter[tuple[str, str]] = Counter()
    for s in shown:
        for family, value in s.scene.values.items():
            balance[family, value] += 1 if s.liked else -1
    rng = numpy_rng("told by history", seed)
    liked: dict[str, str] = {}
    for family in FAMILIES:
        scores = {v: n for (f, v), n in balance.items() if f == family and n > 0}
        if scores:
            best = sorted(v for v, n in scores.items() if n == max(scores.values()))
            liked[family] = str(rng.choice(best))
    return liked, tuple(v for (_, v), n in sorted(balance.items()) if n < 0)


class OracleHistoryMethod:
    """The plain model told, in words, the true attributes of the same noisy pictures."""

    name = "oracle_history"
    needs: tuple[Need, ...] = ("images", "dislikes", "words", "truth")
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench, *, guidance_scale: float = 3.0) -> None:
        self.bench, self.guidance_scale = bench, guidance_scale

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        told = [told_by_history(t.case.shelf.shown, t.seed) for t in tasks]
        return paint_tasks(
            self.bench.chain,
            tasks,
            self.bench.sampling,
            guidance_scale=self.guidance_scale,
            prompts=[told_caption(t, liked) for t, (liked, _) in zip(tasks, told)],
            negative_prompts=[", ".join(disliked) for _, disliked in told],
        )
