"""P(this person likes the picture): what the preference model says, and the evidence of words and manner beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from prefgen.core import ASPECTS, History
from prefgen.embedding import Shown, TasteEvidence, words_named
from prefgen.embedding.evidence import DAYS_A_YEAR
from prefgen.mllm import Told, told_from
from prefgen.pipeline.ports import PreferenceModel, notes_for
from prefgen.pipeline.word_edits import WordEdits

SURE = 1e-6
"""The preference model's probabilities are held this far from 0 and 1, so that odds exist."""


@torch.no_grad()
def likings(
    history: History,
    features: Tensor,
    asked: Sequence[Image.Image],
    asked_features: Tensor,
    edits: WordEdits,
    mllm: PreferenceModel,
    evidence: TasteEvidence | None,
) -> list[float]:
    """P(this person likes it) for each picture of `asked`; `features` and `asked_features` are the CLIP embeddings
    [n, d_clip] of the history's pictures and of those. Without `evidence` it is what the preference model says."""
    said = [float(p) for p in mllm.score(history, asked, **notes_for(mllm.score, edits))]
    if evidence is None or not said:
        return said
    place = {id(item.image): row for item, row in zip(history.items, features)}
    told = told_from(history)
    rows = torch.stack([place[id(item.picture)] for item in told]) if told else features[:0]
    shown = shown_by(told, rows, edits, evidence)
    where = evidence.bias.device
    words, manner = evidence.seen(asked_features.to(where))
    margins = evidence(shown).margins(words[None], manner[None])[0].cpu()
    config = evidence.config
    odds = torch.tensor(said, dtype=torch.float64).clamp(SURE, 1 - SURE).logit()
    return (config.scale * margins.double() + config.said_share * odds + config.offset).sigmoid().tolist()


def shown_by(told: Sequence[Told], features: Tensor, edits: WordEdits, evidence: TasteEvidence) -> Shown:
    """One history as told, its pictures' CLIP embeddings [n, d_clip] and the words said, as a batch of one."""
    where = evidence.bias.device
    words, manner = evidence.seen(features.to(where))
    n, k = len(told), len(evidence.config.words)
    numbers = {word: number for number, (word, _, _) in enumerate(evidence.config.words)}
    comments, notes, forgotten = torch.zeros(n, 2, k), torch.zeros(2, k), torch.zeros(k)
    for row, item in enumerate(told):
        for number, side in words_named(item.comment or "", numbers, item.side):
            comments[row, int(side == "dislike"), number] = 1
    for row, said in enumerate((edits.like, edits.dislike)):
        notes[row, [numbers[word] for word in said if word in numbers]] = 1
    forgotten[[numbers[word] for word in edits.forget if word in numbers]] = 1

    def row_of(values: Sequence[float]) -> Tensor:
        return torch.tensor([values], device=where, dtype=torch.float32)

    return Shown(
        words=words[None],
        manner=manner[None],
        side=row_of([1 if item.side == "like" else -1 for item in told]),
        weights=row_of([item.weight for item in told]),
        ages=row_of([(item.age_days or 0.0) / DAYS_A_YEAR for item in told]),
        aspects=torch.tensor([[ASPECTS.index(item.aspect) for item in told]], device=where, dtype=torch.long),
        comments=comments[None].to(where),
        notes=notes[None].to(where),
        forgotten=forgotten[None].to(where),
    )
