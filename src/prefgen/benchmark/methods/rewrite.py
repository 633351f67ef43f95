"""Prompt rewriting: the words that the preference model reads from the history are written behind the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefgen.benchmark.chain import paint_tasks
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.methods.words import words_of_tasks
from prefgen.benchmark.tasks import Task


class RewriteMethod:
    """The plain model on "prompt, liked word, liked word …", disliked words as the negative prompt.

    What people do by hand, and what rewriting from a history does (Tailored Visions, arXiv 2310.08129, where a language
    model writes; here its words are appended, since the embedded generator knows captions of that form).
    """

    name = "rewrite"
    needs: tuple[Need, ...] = ("images", "dislikes", "training")
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench, *, guidance_scale: float = 3.0, n_words: float = 4) -> None:
        self.bench, self.guidance_scale, self.n_words = bench, guidance_scale, int(n_words)

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        words = words_of_tasks(self.bench, tasks, self.n_words)
        return paint_tasks(
            self.bench.chain,
            tasks,
            self.bench.sampling,
            guidance_scale=self.guidance_scale,
            prompts=[", ".join([t.prompt, *w.liked]) for t, w in zip(tasks, words)],
            negative_prompts=[", ".join(w.disliked) for w in words],
        )
