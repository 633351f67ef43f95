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
from prefgen.embedding import PARTS, SIDES, SideFeatures, UserEncoder
from prefgen.pipeline.ports import PreferenceModel, SideStates, TextEmbedding, notes_for
from prefgen.pipeline.word_edits import WordEdits, edited_sem

EMBEDDING_VERSION = 2
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
    like, dislike = (
        _side_tokens(side, history.items, getattr(states, side), features, edits, encoders) for side in SIDES
    )
    return UserTokens(like=like, dislike=dislike)


def _side_tokens(
    side: Side, items: Sequence[HistoryItem], states: SideStates, features: Tensor, edits: WordEdits, e: Encoders
) -> Tensor:
    """Tokens [1, n_tokens, d_cross]. A side with words and no picture speaks through `ê_sem` alone; with both,
    words move the tokens of the pictures by as much as they move those of the whole embedding."""
    encoder, config = e.user_encoder.side(side), e.user_encoder.config
    where = next(encoder.parameters())
    own, others = (_pictures(items, features, same=same, side=side) for same in (True, False))
    pictured = len(own[0]) > 0
    if not pictured and not edits.of(side):
        return torch.zeros(1, config.n_tokens, config.d_cross)
    images, weights = own if pictured else (features.new_zeros(1, features.shape[-1]), torch.zeros(1))
    given = SideFeatures(last=states.last[None], mean=states.mean[None], images=images[None], weights=weights[None])
    parts = encoder.embed(given.to(where.device, where.dtype))
    keep = {part: torch.tensor([pictured or part == "sem"], device=where.device) for part in PARTS}
    plain = encoder.tokens(parts, keep)
    parts["sem"] = edited_sem(parts["sem"] if pictured else None, edits, side, e.text_embedding).to(where)
    edited = encoder.tokens(parts, keep)
    if not pictured:
        return edited.float().cpu()
    pictures = [(seen.to(where), weight.to(where)) for seen, weight in (own, others)]
    chosen = e.user_encoder.person_tokens(side, plain[0], pictures[0], pictures[1])
    return (chosen + (edited[0] - plain[0]))[None].float().cpu()


def _pictures(items: Sequence[HistoryItem], features: Tensor, *, same: bool, side: Side) -> tuple[Tensor, Tensor]:
    """CLIP embeddings [n, d_clip] and weights [n] of the pictures of a side, or of the other one."""
    places = [place for place, item in enumerate(items) if (item.side == side) == same]
    return features[places], torch.tensor([items[place].weight for place in places])
