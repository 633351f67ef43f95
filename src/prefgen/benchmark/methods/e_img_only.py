"""Our model without its language model: only the pictures' CLIP embeddings are heard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from prefgen.adapter import UserTokens
from prefgen.benchmark.chain import Chain
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.tasks import Shelf
from prefgen.embedding import PARTS, SIDES


@contextmanager
def only_parts(chain: Chain, *kept: str) -> Iterator[None]:
    """While open, every part of the user embedding but `kept` is blank where it enters the projector.

    That is what training's dropout of a part does. Profiles embedded inside must be made inside and thrown away, since
    a profile may remember its embedding.
    """

    def blank(_: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        parts = arguments[0].chunk(len(PARTS), -1)
        return (torch.cat([x if name in kept else torch.zeros_like(x) for name, x in zip(PARTS, parts)], -1),)

    with ExitStack() as stack:
        for side in SIDES:
            handle = chain.user_encoder.side(side).projector.register_forward_pre_hook(blank)
            stack.callback(handle.remove)
        yield


class ImageEmbeddingMethod(PrefGenMethod):
    """`PrefGen` with `e_sem` and `e_core` blanked."""

    name = "e_img_only"

    def tokens(self, shelf: Shelf) -> UserTokens:
        """One row of tokens that carry `e_img` alone."""
        with only_parts(self.bench.chain, "img"):
            return super().tokens(shelf)
