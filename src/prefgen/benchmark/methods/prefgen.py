"""Our method: the whole chain on the person's pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefgen.adapter import UserAdapter, UserTokens, facet_of
from prefgen.benchmark.chain import paint_tasks, tokens_of_shelf, tokens_of_shelves
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.tasks import Shelf, Task


class PrefGenMethod:
    """`PrefGen` on the person's own shelf of liked and disliked pictures."""

    name = "prefgen"
    needs: tuple[Need, ...] = ("images", "dislikes", "training")
    training_minutes_per_person = 0.0

    def __init__(
        self,
        bench: Bench,
        *,
        guidance_scale: float = 3.0,
        like_strength: float = 1.0,
        dislike_strength: float = 1.0,
        user_start: float = 0.0,
        user_end: float = 1.0,
        variety: float = 0.0,
    ) -> None:
        self.bench, self.guidance_scale = bench, guidance_scale
        self.like_strength, self.dislike_strength = like_strength, dislike_strength
        self.user_start, self.user_end, self.variety = user_start, user_end, variety
        self.adapter: UserAdapter = bench.chain.adapter

    def shelf(self, task: Task) -> Shelf:
        """Whose pictures the model is shown."""
        return task.case.shelf

    def tokens(self, shelf: Shelf) -> UserTokens:
        """A shelf's tokens, facets among them."""
        return tokens_of_shelf(self.bench.chain, shelf)

    def prompt(self, task: Task) -> str:
        """What the model is asked for."""
        return task.prompt

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task, of the facet that its seed shows; each shelf is embedded once."""
        embedded = tokens_of_shelves([self.shelf(t) for t in tasks], self.tokens)
        return paint_tasks(
            self.bench.chain,
            tasks,
            self.bench.sampling,
            guidance_scale=self.guidance_scale,
            prompts=[self.prompt(t) for t in tasks],
            tokens=[facet_of(tokens, t.seed, self.variety) for tokens, t in zip(embedded, tasks)],
            adapter=self.adapter,
            like_strength=self.like_strength,
            dislike_strength=self.dislike_strength,
            user_start=self.user_start,
            user_end=self.user_end,
        )
