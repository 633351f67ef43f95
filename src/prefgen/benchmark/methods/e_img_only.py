"""Our model without its language model: only the pictures' CLIP embeddings are heard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from prefgen.adapter import UserTokens
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.tasks import Shelf
from prefgen.embedding import PARTS, SIDES
from prefgen.pipeline import WordEdits, person_tokens, stored_history


@contextmanager
def only_parts(user_encoder: Any, *kept: str) -> Iterator[None]:
    """While open, every part of the user embedding but `kept` is blank where it enters the projector.

    That is what training's dropout of a part does.
    """

    def blank(_: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        parts = arguments[0].chunk(len(PARTS), -1)
        return (torch.cat([x if name in kept else torch.zeros_like(x) for name, x in zip(PARTS, parts)], -1),)

    with ExitStack() as stack:
        for side in SIDES:
            handle = user_encoder.side(side).projector.register_forward_pre_hook(blank)
            stack.callback(handle.remove)
        yield


class ImageEmbeddingMethod(PrefGenMethod):
    """`PrefGen` with `e_sem` and `e_core` blanked."""

    name = "e_img_only"

    def tokens(self, shelf: Shelf) -> UserTokens:
        """One row of tokens that carry `e_img` alone.

        Computed from the history past the model's memory of embeddings, so that neither a whole embedding is read from
        it nor a blanked one left in it.
        """
        history = stored_history(shelf.history(with_prompts=False))
        encoders = self.bench.chain.encoders
        with only_parts(encoders.user_encoder, "img"):
            return person_tokens(history, WordEdits(), encoders)
