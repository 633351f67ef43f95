"""Pictures by a retrained encoder: through the second attention, or as part of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from prefgen.adapter import UserTokens
from prefgen.benchmark.chain import tokens_of_shelves
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.methods.words import paint_states, text_states
from prefgen.benchmark.tasks import Shelf, Task
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.embedding import UserEncoder
from prefgen.pipeline.embed import person_tokens
from prefgen.pipeline.word_edits import NO_EDITS
from prefgen.recipes.retrained.variants import Variant


class Retrained(PrefGenMethod):
    """Our method with a variant's encoder and the shipped adapter, at our tuned strengths, without facets."""

    def __init__(self, bench: Bench, variant: Variant, encoder: UserEncoder) -> None:
        super().__init__(bench, **{**tuned_parameters("prefgen"), "variety": 0.0})
        self.variant, self.encoder = variant, encoder

    def tokens(self, shelf: Shelf) -> UserTokens:
        """The shelf's tokens by the variant's encoder, of the parts that it hears."""
        encoders = replace(self.bench.chain.encoders, user_encoder=self.encoder)
        return person_tokens(shelf.history(with_prompts=False), NO_EDITS, encoders, self.variant.heard)

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        if self.variant.fusion == "second attention":
            return super().paint(tasks)
        rows = [tokens.row(0) for tokens in tokens_of_shelves([t.case.shelf for t in tasks], self.tokens)]
        made: list[np.ndarray] = []
        for start in range(0, len(tasks), self.bench.sampling.batch):
            part, told = tasks[start : start + self.bench.sampling.batch], rows[start:]
            liked, disliked = (torch.cat([getattr(t, side) for t in told[: len(part)]]) for side in ("like", "dislike"))
            states = self.fused(text_states(self.bench, [t.prompt for t in part]), liked, self.like_strength)
            plain = self.fused(text_states(self.bench, [""] * len(part)), disliked, self.dislike_strength)
            made += paint_states(self.bench, part, states, plain, self.guidance_scale)
        return made

    def fused(self, states: Tensor, tokens: Tensor, strength: float) -> Tensor:
        """Text states [n, length, d] with user tokens [n, k, d] behind them, or their mean added to each."""
        tokens = strength * tokens.to(states)
        if self.variant.fusion == "appended to the text":
            return torch.cat([states, tokens], 1)
        return states + tokens.mean(1, keepdim=True)
