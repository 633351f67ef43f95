"""How well a model tells what people of a folder like, and how evidence and language model are weighed for them.

Everything is read from cached features, as `prefgen.pipeline.scoring` computes it from pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prefgen.embedding import TasteEvidence
from prefgen.mllm import Pack, answer_token, chat_frame, fit_temperature, pack, run_packed
from prefgen.pipeline.scoring import SURE, shown_by
from prefgen.pipeline.word_edits import NO_EDITS
from prefgen.recipes.own_data.conversations import Examined
from prefgen.recipes.own_data.features import People
from prefgen.recipes.own_data.people import Opinion, as_told

PRIOR_WIDTH = 0.5
"""How far the language model's log temperature is expected to move from the start model's: few people decide little."""
WEIGHTS_DECAY = 1.0
"""L2 penalty (scikit-learn's 1/C) of the two weights' distance from the start model's."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """Log odds that examined people like what they are asked about: arrays [n_asked], one a person.

    `said` is the language model's, `shown` the evidence's; `_of_nobody` where nothing is known. `likes` bool are the
    labels. `shown` is None for a model without evidence.
    """

    said: list[np.ndarray]
    said_of_nobody: list[np.ndarray]
    shown: list[np.ndarray] | None
    shown_of_nobody: list[np.ndarray] | None

    @property
    def likes(self) -> list[np.ndarray]:
        """The labels: pictures stand pair by pair, the liked first."""
        return [np.arange(len(one)) % 2 == 0 for one in self.said]


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """How log odds become probabilities: the language model's `temperature`, and the weights of evidence (`scale`) and
    of the language model (`said_share`) where there is evidence."""

    temperature: float
    scale: float = 0.0
    said_share: float = 1.0

    def log_odds(self, heard: Heard) -> list[np.ndarray]:
        """As the models have it in `prefgen.pipeline.scoring.likings`, before a history's pictures speak by themselves
        and before the sigmoid; one array a person."""
        said = [one / self.temperature for one in heard.said]
        if heard.shown is None or heard.shown_of_nobody is None:
            return said
        of_nobody = [_sure(one / self.temperature) for one in heard.said_of_nobody]
        shown = [a - b for a, b in zip(heard.shown, heard.shown_of_nobody)]
        return [
            self.scale * a + self.said_share * (_sure(b) - c) for a, b, c in zip(shown, said, of_nobody, strict=True)
        ]


def _sure(log_odds: np.ndarray) -> np.ndarray:
    """Held as far from certainty as the pipeline holds them."""
    most = float(np.log((1 - SURE) / SURE))
    return np.clip(log_odds, -most, most)


@torch.no_grad()
def said_margins(model: Any, processor: Any, people: People, packs: Sequence[Pack]) -> list[np.ndarray]:
    """l_yes - l_no of every question, an array a pack."""
    model.eval()
    frame = chat_frame(processor)
    yes, no = answer_token(processor, frame, "Yes"), answer_token(processor, frame, "No")
    found: list[np.ndarray] = []
    for start in range(0, len(packs), 8):
        some = packs[start : start + 8]
        batch = pack(processor, frame, some)
        hidden = run_packed(model, batch, people.rows("tokens", batch.pictures))
        for r, one in enumerate(some):
            at = [batch.ends[r, k] for k in range(len(one.branches))]
            logits = model.lm_head(hidden[r, at]).float()
            found.append((logits[:, yes] - logits[:, no]).double().numpy())
    return found


@torch.no_grad()
def shown_margins(evidence: TasteEvidence, people: People, one: Examined, *, known: bool) -> np.ndarray:
    """The evidence's log odds of one person's questions."""
    history: tuple[Opinion, ...] = one.history if known else ()
    shown = shown_by(as_told(history), evidence.seen(_clip(people, history)), NO_EDITS, evidence.config)
    words, manner = evidence.seen(_clip(people, one.asked))
    return evidence(shown).margins(words[None], manner[None])[0].double().numpy()


def _clip(people: People, opinions: Sequence[Opinion]) -> Tensor:
    return people.rows("clip", [o.key for o in opinions])


def heard_of(
    model: Any, processor: Any, evidence: TasteEvidence | None, people: People, exams: Sequence[Examined]
) -> Heard:
    """What both halves of a model say of everybody's questions."""
    said, of_nobody = (
        said_margins(model, processor, people, [one.pack(known=known) for one in exams]) for known in (True, False)
    )
    shown, shown_of_nobody = (
        None if evidence is None else [shown_margins(evidence, people, one, known=known) for one in exams]
        for known in (True, False)
    )
    return Heard(said=said, said_of_nobody=of_nobody, shown=shown, shown_of_nobody=shown_of_nobody)


def losses_of(log_odds: Sequence[np.ndarray], likes: Sequence[np.ndarray]) -> np.ndarray:
    """float64 [n_people]: cross-entropy of each person's yes/no answers, and of which of a pair is liked better."""
    found = []
    for margins, liked in zip(log_odds, likes, strict=True):
        answers = np.logaddexp(0, np.where(liked, -margins, margins)).mean()
        found.append(answers + np.logaddexp(0, margins[1::2] - margins[0::2]).mean())
    return np.array(found)


def which_of_two(log_odds: Sequence[np.ndarray]) -> np.ndarray:
    """float64 [n_people]: the share of pairs whose liked picture scores higher, a draw half."""
    return np.array([(np.sign(m[0::2] - m[1::2]) / 2 + 0.5).mean() for m in log_odds])


def yes_or_no(log_odds: Sequence[np.ndarray], likes: Sequence[np.ndarray]) -> np.ndarray:
    """float64 [n_people]: the share of pictures that are told right at P = 0.5."""
    return np.array([((m > 0) == liked).mean() for m, liked in zip(log_odds, likes, strict=True)])


def reweighed(heard: Heard, start: Weighing) -> Weighing:
    """Temperature and weights by validation people, held to the start model's as far as few people say little."""
    likes = np.concatenate(heard.likes)
    temperature = held_temperature(np.concatenate(heard.said), likes, start.temperature)
    if heard.shown is None or heard.shown_of_nobody is None:
        return Weighing(temperature=temperature)
    parts = (Weighing(temperature=temperature, scale=a, said_share=b) for a, b in ((1.0, 0.0), (0.0, 1.0)))
    columns = np.stack([np.concatenate(part.log_odds(heard)) for part in parts], 1)
    scale, share = held_weights(columns, likes, np.array([start.scale, start.said_share]))
    return Weighing(temperature=temperature, scale=float(scale), said_share=float(share))


def held_temperature(margins: np.ndarray, labels: np.ndarray, start: float) -> float:
    """The likeliest temperature under a log-normal prior of `PRIOR_WIDTH` around `start`."""
    fitted = fit_temperature(margins, labels)
    candidates = np.exp(np.linspace(np.log(start), np.log(fitted), 401))
    signs = np.where(labels, 1.0, -1.0)
    lost = [
        np.logaddexp(0, -signs * margins / t).sum() + (np.log(t / start) / PRIOR_WIDTH) ** 2 / 2 for t in candidates
    ]
    return float(candidates[int(np.argmin(lost))])


def held_weights(columns: np.ndarray, labels: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Logistic regression [k] on `columns` [n, k] without intercept, held to `start` by `WEIGHTS_DECAY`, by Newton's
    method; no weight falls below 0."""
    weights = start.astype(np.float64).copy()
    y = labels.astype(np.float64)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(columns @ weights, -50, 50)))
        gradient = columns.T @ (p - y) + WEIGHTS_DECAY * (weights - start)
        curvature = (columns * (p * (1 - p))[:, None]).T @ columns + WEIGHTS_DECAY * np.eye(len(start))
        weights = weights - np.linalg.solve(curvature, gradient)
    return np.maximum(weights, 0.0)


def weighing_of(folder: Path, evidence: TasteEvidence | None) -> Weighing:
    """A model folder's own weighing."""
    from prefgen.mllm.loading import beside

    temperature = beside(folder / "mllm").get("temperature", 1.0)
    if evidence is None:
        return Weighing(temperature=temperature)
    config = evidence.config
    return Weighing(temperature=temperature, scale=config.scale, said_share=config.said_share)
