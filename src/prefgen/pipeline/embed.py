"""From a history to user tokens: preference model, CLIP and user encoder, each asked once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from prefgen.adapter import UserTokens
from prefgen.core import History, HistoryItem, Side
from prefgen.embedding import PARTS, SIDES, SideFeatures, TasteEvidence, UserEncoder, shown_words, words_of_taste
from prefgen.pipeline.ports import PreferenceModel, SideStates, TextEmbedding, notes_for
from prefgen.pipeline.scoring import words_by_evidence
from prefgen.pipeline.trust import trust_in_labels
from prefgen.pipeline.voices import weights_by_age
from prefgen.pipeline.word_edits import WordEdits, edited_sem

EMBEDDING_VERSION = 9
"""Raised whenever this computation changes: it is part of a model's hash, so that older profiles are refused."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoders:
    """Everything that looks at a history. `image_encoder` is a `CLIPVisionModelWithProjection`."""

    mllm: PreferenceModel
    image_encoder: Any
    feature_extractor: Any
    user_encoder: UserEncoder
    text_embedding: TextEmbedding
    evidence: TasteEvidence | None = None


@torch.no_grad()
def picture_features(images: Sequence[Image.Image], image_encoder: Any, feature_extractor: Any) -> Tensor:
    """CLIP embeddings float32 [n, d_clip]."""
    pixels = feature_extractor(images=list(images), return_tensors="pt")["pixel_values"]
    parameter = next(image_encoder.parameters())
    return image_encoder(pixel_values=pixels.to(parameter.device, parameter.dtype)).image_embeds.float()


@torch.no_grad()
def person_tokens(history: History, edits: WordEdits, encoders: Encoders, heard: Collection[str] = PARTS) -> UserTokens:
    """A person's user tokens, float32 on the CPU: a row for the taste as a whole, then one for each facet of what is
    liked, all with the same dislikes. A side of which nothing is known is nobody: zeros.

    A pure function of the (stored) history and the edits. `heard` leaves parts of the embedding out, which shows what
    each is good for; without `img` no token is elected among the pictures', and there is no facet.
    """
    mllm = encoders.mllm
    states = mllm.encode(history, **notes_for(mllm.encode, edits))
    features = picture_features(
        [item.image for item in history.items], encoders.image_encoder, encoders.feature_extractor
    )
    voices = weights_by_age(history)
    if encoders.user_encoder.config.election_width:
        voices = voices * trust_in_labels(history, features, edits, mllm, encoders.evidence)
    like, dislike = (
        _side_tokens(side, history.items, getattr(states, side), features, voices, edits, encoders, heard)
        for side in SIDES
    )
    return UserTokens(like=like, dislike=dislike.repeat(len(like), 1, 1))


@torch.no_grad()
def words_of_person(
    history: History, edits: WordEdits, encoders: Encoders, words: Sequence[str], states: Tensor, silence: Tensor
) -> dict[str, list[tuple[str, float, float]]]:
    """What a history's pictures stand for in words: by evidence where there is any, else by where the pictures' tokens
    lie (`words_of_taste`), `states` and `silence` being the `word_states` of `words`."""
    features = picture_features(
        [item.image for item in history.items], encoders.image_encoder, encoders.feature_extractor
    )
    trust = trust_in_labels(history, features, edits, encoders.mllm, encoders.evidence)
    if encoders.evidence is not None:  # it fades by age itself
        weights = torch.tensor([item.weight for item in history.items])
        return words_by_evidence(history, features, weights * trust, encoders.evidence)
    liked = torch.tensor([item.side == "like" for item in history.items])
    tokens = torch.stack(
        [
            encoders.user_encoder.side("like" if like else "dislike").picture_tokens(seen[None].to(_place(encoders)))[0]
            for like, seen in zip(liked.tolist(), features)
        ]
    )
    width = encoders.user_encoder.config.election_width
    shown = shown_words(tokens.float().cpu(), states, silence, width)
    return words_of_taste(words, shown, liked, weights_by_age(history) * trust)


def _place(encoders: Encoders) -> Tensor:
    """Any parameter of the user encoder: its device and dtype."""
    return next(encoders.user_encoder.parameters())


def _side_tokens(
    side: Side,
    items: Sequence[HistoryItem],
    states: SideStates,
    features: Tensor,
    voices: Tensor,
    edits: WordEdits,
    e: Encoders,
    heard: Collection[str],
) -> Tensor:
    """Tokens [n_rows, n_tokens, d_cross], of likes with facets. A side with words and no picture speaks through
    `ê_sem` alone; with both, words move the tokens of the pictures by as much as they move those of the whole
    embedding. `voices` [n_items] are the pictures' weights in the election."""
    encoder, config = e.user_encoder.side(side), e.user_encoder.config
    where = _place(e)
    own, others = (_pictures(items, features, voices, same=same, side=side) for same in (True, False))
    pictured = len(own[0]) > 0
    if not pictured and not edits.of(side):
        return torch.zeros(1, config.n_tokens, config.d_cross)
    images, weights = features.new_zeros(1, features.shape[-1]), torch.zeros(1)
    if pictured:
        images, weights = own[0], torch.tensor([item.weight for item in items if item.side == side])
    given = SideFeatures(last=states.last[None], mean=states.mean[None], images=images[None], weights=weights[None])
    parts = encoder.embed(given.to(where.device, where.dtype))
    keep = {part: torch.tensor([part in heard and (pictured or part == "sem")], device=where.device) for part in PARTS}
    plain = encoder.tokens(parts, keep)
    parts["sem"] = edited_sem(parts["sem"] if pictured else None, edits, side, e.text_embedding).to(where)
    edited = encoder.tokens(parts, keep)
    if not pictured or "img" not in heard:
        return edited.float().cpu()
    pictures = [(seen.to(where), weight.to(where)) for seen, weight in (own, others)]
    chosen = e.user_encoder.person_tokens(side, plain[0], pictures[0], pictures[1])
    return (chosen + (edited - plain)).float().cpu()


def _pictures(
    items: Sequence[HistoryItem], features: Tensor, voices: Tensor, *, same: bool, side: Side
) -> tuple[Tensor, Tensor]:
    """CLIP embeddings [n, d_clip] and voices [n] of the pictures of a side, or of the other one."""
    places = [place for place, item in enumerate(items) if (item.side == side) == same]
    return features[places], voices[places]
