"""ViPer's guidance: words of a taste steer the plain model through its text states and two more predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.methods.words import paint_states, text_states, words_of_tasks
from prefgen.benchmark.tasks import Task
from prefgen.diffusion.guidance import rows_rewritten


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
                text_states(self.bench, [", ".join(getattr(w, side)) for _, w in zip(part, words)])
                for side in ("liked", "disliked")
            )
            plain = text_states(self.bench, [t.prompt for t in part])
            nothing = text_states(self.bench, [""] * len(part))
            with steered(self.bench.chain.pipe.unet, liked, disliked, self.degree):
                states = plain + self.degree * liked
                made += paint_states(self.bench, part, states, nothing, self.guidance_scale)
        return made


@contextmanager
def steered(unet: nn.Module, liked: Tensor, disliked: Tensor, degree: float) -> Iterator[None]:
    """While open, a call of the network on `[ε_∅; ε_p]` also predicts `ε_VP₊` and `ε_VP₋` and gives back
    `[ε_∅; ε_p + degree·(ε_VP₊ - ε_VP₋)]`, from which the pipeline's guidance makes ViPer's. `liked` and `disliked` are
    text states [n, length, d] of the batch's n pictures."""
    n = len(liked)

    def add_rows(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x, *rest = args
        states = kwargs["encoder_hidden_states"]
        steering = torch.cat([liked, disliked]).to(states)
        return (torch.cat([x, x[-n:], x[-n:]]), *rest), {
            **kwargs, "encoder_hidden_states": torch.cat([states, steering])
        }  # fmt: skip

    def fold_rows(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        nothing, text, plus, minus = output[0].split(n)
        folded = torch.cat([nothing, text + degree * (plus - minus)])
        return (folded, *output[1:]) if isinstance(output, tuple) else type(output)(sample=folded)

    with rows_rewritten(unet, add_rows, fold_rows):
        yield
