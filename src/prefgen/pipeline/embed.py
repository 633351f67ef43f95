"""From a history to user tokens: preference model, CLIP and user encoder, each asked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from prefgen.adapter import UserTokens
from prefgen.core import History, HistoryItem, Side
from prefgen.embedding import SideFeatures, UserEncoder
from prefgen.pipeline.ports import PreferenceModel, SideStates, TextEmbedding, notes_for
from prefgen.pipeline.word_edits import WordEdits, edited_sem

EMBEDDING_VERSION = 1
"""Raised whenever this computation changes: it is part of a model's hash, so that older profiles are refused."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoders:
    """Everything that looks at a history. `image_encoder` is a `CLIPVisionModelWithProjection`."""

    mllm: PreferenceModel
    image_encoder: Any
    feature_extractor: Any
    user_encoder: UserEncoder
    text_embedding: TextEmbedding


@torch.no_grad()
def picture_features(images: Sequence[Image.Image], image_encoder: Any, feature_extractor: Any) -> Tensor:
    """CLIP embeddings float32 [n, d_clip]."""
    pixels = feature_extractor(images=list(images), return_tensors="pt")["pixel_values"]
    parameter = next(image_encoder.parameters())
    return image_encoder(pixel_values=pixels.to(parameter.device, parameter.dtype)).image_embeds.float()


@torch.no_grad()
def person_tokens(history: History, edits: WordEdits, encoders: Encoders) -> UserTokens:
    """One row of user tokens, float32 on the CPU. A side of which nothing is known is nobody: zeros.

    A pure function of the (stored) history and the edits.
    """
    mllm = encoders.mllm
    states = mllm.encode(history, **notes_for(mllm.encode, edits))
    features = picture_features(
        [item.image for item in history.items], encoders.image_encoder, encoders.feature_extractor
    )
    like = _side_tokens("like", history.items, states.like, features, edits, encoders)
    dislike = _side_tokens("dislike", history.items, states.dislike, features, edits, encoders)
    return UserTokens(like=like, dislike=dislike)


def _side_tokens(
    side: Side, items: Sequence[HistoryItem], states: SideStates, features: Tensor, edits: WordEdits, e: Encoders
) -> Tensor:
    """Tokens [1, n_tokens, d_cross]. A side with words and no picture speaks through `ê_sem` alone."""
    encoder, config = e.user_encoder.side(side), e.user_encoder.config
    places = [place for place, item in enumerate(items) if item.side == side]
    if not places and not edits.of(side):
        return torch.zeros(1, config.n_tokens, config.d_cross)
    where = next(encoder.parameters())
    weights = torch.tensor([[items[place].weight for place in places] or [0.0]])
    images = features[places] if places else features.new_zeros(1, features.shape[-1])
    given = SideFeatures(last=states.last[None], mean=states.mean[None], images=images[None], weights=weights)
    parts = encoder.embed(given.to(where.device, where.dtype))
    parts["sem"] = edited_sem(parts["sem"] if places else None, edits, side, e.text_embedding).to(where)
    pictured = torch.tensor([bool(places)], device=where.device)
    keep = {"sem": torch.ones_like(pictured), "core": pictured, "img": pictured}
    return encoder.tokens(parts, keep).float().cpu()
