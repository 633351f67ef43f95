"""The mean direction of the understood words, added to the prompt's text states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.methods.words import paint_states, text_states, words_of_tasks
from prefgen.benchmark.tasks import Task


class TextMeanMethod:
    """Text states of the prompt moved by `strength` times the mean of (state of a liked word - state of no word).

    Disliked words move the unconditional branch the same way. No training beyond the preference model's.
    """

    name = "text_mean"
    needs: tuple[Need, ...] = ("images", "dislikes", "training")
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench, *, guidance_scale: float = 3.0, strength: float = 1.0, n_words: float = 4) -> None:
        self.bench, self.guidance_scale = bench, guidance_scale
        self.strength, self.n_words = strength, int(n_words)

    def direction(self, words: Sequence[str]) -> Tensor:
        """[1, d]: the mean over words of the mean state over the text's places, less that of an empty text."""
        states = text_states(self.bench, ["", *words]).mean(1)
        return (states[1:] - states[:1]).mean(0, keepdim=True) if words else torch.zeros_like(states[:1])

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        known = words_of_tasks(self.bench, tasks, self.n_words)
        sides = [dict.fromkeys(getattr(w, side) for w in known) for side in ("liked", "disliked")]
        directions = {words: self.direction(words) for side in sides for words in side}
        made: list[np.ndarray] = []
        for start in range(0, len(tasks), self.bench.sampling.batch):
            part, words = tasks[start : start + self.bench.sampling.batch], known[start:]
            texts = text_states(self.bench, [t.prompt for t in part]), text_states(self.bench, [""] * len(part))
            moves = [
                torch.stack([directions[getattr(w, s)] for _, w in zip(part, words)]) for s in ("liked", "disliked")
            ]
            states, negative = (text + self.strength * move for text, move in zip(texts, moves))
            made += paint_states(self.bench, part, states, negative, self.guidance_scale)
        return made
