"""What a history leaves behind in the frozen encoders, per side: the raw material of a user embedding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SideFeatures:
    """Features of one side (likes or dislikes) of a batch of histories.

    `last` float [batch, n_states, d_lm]: every hidden state of the MLLM at the last token of this side's question.
    `mean` float [batch, n_states, d_lm]: every hidden state averaged over this side's picture tokens.
    `images` float [batch, n_images, d_clip]: CLIP embeddings of this side's pictures, padded with zeros.
    `weights` float [batch, n_images]: weight per picture, 0 for padding. A row of zeros is an empty side.
    n_states counts the embeddings and every layer's output (transformers' `hidden_states`).
    """

    last: Tensor
    mean: Tensor
    images: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return self.last.shape[0]

    @property
    def present(self) -> Tensor:
        """bool [batch]: whether the side holds any picture."""
        return self.weights.sum(-1) > 0

    def rows(self, index: Tensor | slice) -> SideFeatures:
        """Some rows of the batch."""
        return SideFeatures(
            last=self.last[index], mean=self.mean[index], images=self.images[index], weights=self.weights[index]
        )

    def to(self, *args: object, **kwargs: object) -> SideFeatures:
        """Moved or cast as `torch.Tensor.to` would."""
        moved = {name: getattr(self, name).to(*args, **kwargs) for name in ("last", "mean", "images", "weights")}
        return replace(self, **moved)


def stack_sides(parts: list[SideFeatures]) -> SideFeatures:
    """Joins batches whose histories may differ in their number of pictures."""
    n = max(part.images.shape[1] for part in parts)

    def pad(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, 0) * (x.ndim - 2) + (0, n - x.shape[1]))

    return SideFeatures(
        last=torch.cat([p.last for p in parts]),
        mean=torch.cat([p.mean for p in parts]),
        images=torch.cat([pad(p.images) for p in parts]),
        weights=torch.cat([pad(p.weights) for p in parts]),
    )
