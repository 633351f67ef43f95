"""Liked and disliked pictures heard through the network's own self-attention: FABRIC, on any base, without any
weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from prefgen.core import History, HistoryItem, InputError
from prefgen.diffusion.references import attending, liked_and_disliked, reference_latents
from prefgen.pipeline.untrained.person import Ask, digest_of, images_of, names_of, spread


@dataclass(frozen=True, kw_only=True, eq=False)
class FabricPerson:
    """Somebody known by pictures in latents (float [n_references, channels, h, w] a side) and their weights.

    A strength multiplies the attention that each reference of its side gets (arXiv 2307.10159). A step costs one more
    network row for each reference, and attention that is longer by as many pictures.
    """

    liked: Tensor
    disliked: Tensor
    like_weights: tuple[float, ...]
    dislike_weights: tuple[float, ...]
    digest: str

    way: ClassVar[str] = "fabric"
    like_strength: ClassVar[float] = 0.5
    dislike_strength: ClassVar[float] = 0.25
    guidance_scale: ClassVar[float | None] = None

    @property
    def has_dislikes(self) -> bool:
        """Whether anything is disliked."""
        return bool(self.dislike_weights)

    @property
    def told(self) -> dict[str, object]:
        """How many pictures are heard."""
        return {"n_liked": len(self.like_weights), "n_disliked": len(self.dislike_weights)}

    @contextmanager
    def heard(self, pipe: Any, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `UntrainedPerson`."""
        like = ask.like_strength * torch.tensor([self.like_weights]) if ask.like_strength else torch.zeros(1, 0)
        speaks = ask.guided and bool(ask.dislike_strength)
        dislike = ask.dislike_strength * torch.tensor([self.dislike_weights]) if speaks else torch.zeros(1, 0)
        if not like.shape[1] + dislike.shape[1]:
            yield ask.plain()
            return
        latents = torch.cat([x for x, w in ((self.liked, like), (self.disliked, dislike)) if w.shape[1]])
        read = liked_and_disliked(like, dislike, guided=ask.guided)
        there = latents[None].to(pipe._execution_device, pipe.unet.dtype)
        with torch.no_grad(), attending(pipe, there, read):
            yield ask.plain()


def fabric_person(pipe: Any, history: History, n_references: int) -> FabricPerson:
    """Somebody from a history: at most `n_references` pictures a side, evenly over it.

    Raises:
        InputError: fewer than one reference, or no pictures.
    """
    if n_references < 1:
        raise InputError(f"expected at least one reference a side, got {n_references}")
    if not history.items:
        raise InputError("expected at least one liked or disliked picture, got none")
    liked, disliked = spread(history.liked, n_references), spread(history.disliked, n_references)
    return FabricPerson(
        liked=_latents(pipe, liked),
        disliked=_latents(pipe, disliked),
        like_weights=tuple(item.weight for item in liked),
        dislike_weights=tuple(item.weight for item in disliked),
        digest=digest_of(FabricPerson.way, [n_references, *names_of(history)]),
    )


def _latents(pipe: Any, items: Sequence[HistoryItem]) -> Tensor:
    """One at a time: an encoder's memory at full size is large, and a picture's latents do not depend on the others."""
    made = [reference_latents(pipe, images_of([item])).cpu() for item in items]
    return torch.cat(made) if made else torch.zeros(0, pipe.unet.config.in_channels, 1, 1)
