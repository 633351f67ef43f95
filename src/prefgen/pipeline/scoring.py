"""P(this person likes the picture): what the preference model says, and the evidence of words and manner beside it; and
which words that evidence is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from prefgen.core import ASPECTS, History
from prefgen.embedding import EvidenceConfig, Shown, TasteEvidence, words_named
from prefgen.embedding.evidence import DAYS_A_YEAR
from prefgen.mllm import Told, told_from
from prefgen.pipeline.credence import OwnReading, read_own_pictures
from prefgen.pipeline.ports import PreferenceModel, notes_for
from prefgen.pipeline.voices import weights_by_age
from prefgen.pipeline.word_edits import NO_EDITS, WordEdits

LEAST_SHOWN, LEAST_WEIGHT = 0.5, 0.4
"""A word that less than so much of a side's pictures shows, or that matters less, is not said."""
SURE = 1e-6
"""The preference model's probabilities are held this far from 0 and 1, so that odds exist."""


NOBODY = History(items=())


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
    [n, d_clip] of the history's pictures and of those.

    With `evidence` it is what the history says of a picture, beyond what is said where nothing is known: what many
    people like is not thereby known of one, and of nobody everything is 0.5. The models are believed as far as they
    foresee the history's own labels, and its pictures by themselves for the rest (`prefgen.pipeline.credence`); words
    that a person said always count. Without evidence, what the preference model says.
    """
    if evidence is None:
        return [float(p) for p in mllm.score(history, asked, **notes_for(mllm.score, edits))]
    told = log_odds(history, features, asked, asked_features, edits, mllm, evidence)
    told = told - log_odds_of_nobody(asked, asked_features, mllm, evidence)
    if history.items and len(asked):
        own = own_reading(history, features, asked, asked_features, evidence)
        by_words = 0.0
        if edits != NO_EDITS:
            silent = _margins(history, features, asked_features, NO_EDITS, evidence)
            by_words = _margins(history, features, asked_features, edits, evidence) - silent
        told = own.beside(told - by_words) + by_words
    return told.sigmoid().tolist()


def own_reading(
    history: History,
    features: Tensor,
    asked: Sequence[Image.Image],
    asked_features: Tensor,
    evidence: TasteEvidence,
) -> OwnReading:
    """The history's pictures by themselves, and how far the models are believed beside them; without words said."""
    told, places = told_of(history)
    seen = evidence.seen(features[places].to(evidence.bias.device))
    shown = shown_by([replace(item, comment=None) for item in told], seen, NO_EDITS, evidence.config)
    items, voices = [history.items[place] for place in places], weights_by_age(history)[places]
    return read_own_pictures(items, voices, features[places], asked, asked_features, shown, evidence)


@torch.no_grad()
def log_odds(
    history: History,
    features: Tensor,
    asked: Sequence[Image.Image],
    asked_features: Tensor,
    edits: WordEdits,
    mllm: PreferenceModel,
    evidence: TasteEvidence,
) -> Tensor:
    """Log odds float64 [n] that evidence and preference model together give each picture of `asked`; arguments as in
    `likings`."""
    if not len(asked):
        return torch.zeros(0, dtype=torch.float64)
    said = torch.tensor(mllm.score(history, asked, **notes_for(mllm.score, edits)), dtype=torch.float64)
    margins = _margins(history, features, asked_features, edits, evidence)
    return margins + evidence.config.said_share * said.clamp(SURE, 1 - SURE).logit()


@torch.no_grad()
def _margins(
    history: History, features: Tensor, asked_features: Tensor, edits: WordEdits, evidence: TasteEvidence
) -> Tensor:
    """Log odds float64 [n_asked] by evidence alone."""
    told, places = told_of(history)
    where = evidence.bias.device
    shown = shown_by(told, evidence.seen(features[places].to(where)), edits, evidence.config)
    words, manner = evidence.seen(asked_features.to(where))
    return evidence.config.scale * evidence(shown).margins(words[None], manner[None])[0].cpu().double()


def log_odds_of_nobody(
    asked: Sequence[Image.Image], asked_features: Tensor, mllm: PreferenceModel, evidence: TasteEvidence
) -> Tensor:
    """`log_odds` where nothing is known of a person: what the crowd likes, and what the models lean to."""
    return log_odds(NOBODY, asked_features[:0], asked, asked_features, NO_EDITS, mllm, evidence)


@torch.no_grad()
def words_by_evidence(
    history: History, features: Tensor, voices: Tensor, evidence: TasteEvidence
) -> dict[str, list[tuple[str, float, float]]]:
    """`{"likes": [(word, weight, confidence), …], "dislikes": […]}`, strongest first, of a history whose pictures count
    `voices` [n_items].

    An opinion of a word is the log odds that a picture gains by showing it: `confidence` is its sigmoid, `weight` how
    far that lies above one half, 0 to 1. Only words that the side's own pictures, or comments, show.
    """
    told, places = told_of(history)
    shown = shown_by(told, evidence.seen(features[places].to(evidence.bias.device)), NO_EDITS, evidence.config)
    shown = replace(shown, weights=voices[places].to(shown.weights)[None])
    opinions = evidence(shown).words[0].cpu()
    found: dict[str, list[tuple[str, float, float]]] = {}
    for name, sign in (("likes", 1), ("dislikes", -1)):
        count = (shown.side[0] * sign > 0) * shown.weights[0]
        seen = (count @ shown.words[0] + shown.comments[0, :, 0 if sign > 0 else 1].sum(0)).cpu()
        p = (sign * opinions).sigmoid()
        held = ((2 * p - 1 >= LEAST_WEIGHT) & (seen >= LEAST_SHOWN)).nonzero()[:, 0].tolist()
        entries = [(evidence.config.words[k][0], float(2 * p[k] - 1), float(p[k])) for k in held]
        found[name] = sorted(entries, key=lambda entry: -entry[1])
    return found


def told_of(history: History) -> tuple[list[Told], list[int]]:
    """The items that are told of a history, and where in it they stand."""
    told = told_from(history)
    place = {id(item.image): number for number, item in enumerate(history.items)}
    return told, [place[id(item.picture)] for item in told]


def shown_by(told: Sequence[Told], seen: tuple[Tensor, Tensor], edits: WordEdits, config: EvidenceConfig) -> Shown:
    """One history as told, what its pictures show (`TasteEvidence.seen`: [n, K] and [n, M]) and the words said, as a
    batch of one."""
    words, manner = seen
    where = words.device
    n, k = len(told), len(config.words)
    numbers = {word: number for number, (word, _, _) in enumerate(config.words)}
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
