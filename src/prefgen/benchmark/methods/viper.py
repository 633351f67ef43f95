"""ViPer's guidance: words of a taste steer the plain model through its text states and two more predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.methods.words import paint_states, words_of_tasks
from prefgen.benchmark.tasks import Task
from prefgen.diffusion.word_steering import steered_by_words, text_states


class ViperMethod:
    """Re-implementation of ViPer's generation (arXiv 2407.17365) on the words that our preference model names.

    With E the text states, VP₊ and VP₋ the liked and disliked words, s the guidance scale and d the degree:
    p = E(prompt) + d·E(VP₊) and ε = ε_∅ + s·(ε_p + d·ε_VP₊ - ε_∅ - d·ε_VP₋). ViPer's own model reads its words from
    comments; here all methods get pictures and labels only.
    """

    name = "viper"
    needs: tuple[Need, ...] = ("images", "dislikes", "training")
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench, *, guidance_scale: float = 3.0, degree: float = 0.85, n_words: float = 4) -> None:
        self.bench, self.guidance_scale = bench, guidance_scale
        self.degree, self.n_words = degree, int(n_words)

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        known = words_of_tasks(self.bench, tasks, self.n_words)
        made: list[np.ndarray] = []
        for start in range(0, len(tasks), self.bench.sampling.batch):
            part, words = tasks[start : start + self.bench.sampling.batch], known[start:]
            liked, disliked = (
                text_states(self.bench.chain.pipe, [", ".join(getattr(w, side)) for _, w in zip(part, words)])[0]
                for side in ("liked", "disliked")
            )
            plain, nothing = text_states(self.bench.chain.pipe, [t.prompt for t in part], [""] * len(part))
            with steered_by_words(self.bench.chain.pipe.unet, liked, disliked, self.degree, self.degree):
                states = plain.plus(self.degree, liked).states
                made += paint_states(self.bench, part, states, nothing.states, self.guidance_scale)
        return made
