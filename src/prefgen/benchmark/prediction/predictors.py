"""Ways of telling which of two pictures a person chooses: the model, two rivals that need no training, and chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from prefgen.benchmark.chain import Chain, unit_clip_embeddings
from prefgen.benchmark.prediction.asked import Asked, Pair
from prefgen.core import History, HistoryItem

SURE = 1e-6
"""Probabilities are held this far from 0 and 1, so that odds exist."""


class Predictor(Protocol):
    """One way of predicting."""

    @property
    def name(self) -> str:
        """The row's name."""
        ...

    def first_chosen(self, chain: Chain, asked: Asked, references: Sequence[Pair]) -> np.ndarray | None:
        """float [n]: the probability that the first of each pair is chosen, one half for "cannot tell"; None where the
        predictor has nothing to go by for these people. The answers of `asked` are not for it."""
        ...


def history_of_pairs(references: Sequence[Pair]) -> History:
    """Chosen pictures as likes, rejected ones as dislikes."""
    chosen = [HistoryItem(image=a, side="like") for a, _ in references]
    return History(items=(*chosen, *(HistoryItem(image=b, side="dislike") for _, b in references)))


def first_of_two(likings: np.ndarray) -> np.ndarray:
    """float [n]: P(the first is the liked one | one of the two is), from P(liked) of both, [n, 2], held independent."""
    p = np.clip(likings, SURE, 1 - SURE)
    first, second = p[:, 0] * (1 - p[:, 1]), p[:, 1] * (1 - p[:, 0])
    return first / (first + second)


class Model:
    """The whole model's P(liked) of both pictures, given the references as a history."""

    name = "prefgen"

    def first_chosen(self, chain: Chain, asked: Asked, references: Sequence[Pair]) -> np.ndarray:
        """It answers without a reference too: what people like on the whole."""
        likings = chain.score_history(history_of_pairs(references), asked.pictures)
        return first_of_two(np.asarray(likings, dtype=np.float64).reshape(-1, 2))


class LanguageModel:
    """The preference model's calibrated yes or no alone, without the evidence beside it."""

    name = "mllm"

    def first_chosen(self, chain: Chain, asked: Asked, references: Sequence[Pair]) -> np.ndarray:
        """It answers without a reference too."""
        likings = chain.mllm.score(history_of_pairs(references), asked.pictures)
        return first_of_two(np.asarray(likings, dtype=np.float64).reshape(-1, 2))


class ClipLogisticRegression:
    """Bradley and Terry's model on CLIP embeddings: logistic regression on the differences of the reference pairs.

    Embeddings have mean square 1, as best of n's. `c`, the inverse of the L2 penalty, is tuned to nothing: at 0.01 and
    200 dimensions a random pair's log odds spread by about 2 before anything is learned. One half without references.
    """

    name = "clip_logistic_regression"

    def __init__(self, c: float = 0.01) -> None:
        self.c = c

    def first_chosen(self, chain: Chain, asked: Asked, references: Sequence[Pair]) -> np.ndarray:
        """Fitted on both directions of every reference, so that no side is favoured."""
        if not references:
            return np.full(len(asked.questions), 0.5)
        from sklearn.linear_model import LogisticRegression  # imported here: it takes a second

        seen = self._differences(chain, [picture for pair in references for picture in pair])
        labels = np.repeat([True, False], len(seen))
        fitted = LogisticRegression(C=self.c, fit_intercept=False).fit(np.concatenate([seen, -seen]), labels)
        return fitted.predict_proba(self._differences(chain, asked.pictures))[:, 1]

    @staticmethod
    def _differences(chain: Chain, pictures: list[Image.Image]) -> np.ndarray:
        seen = unit_clip_embeddings(chain, pictures)
        return (seen[::2] - seen[1::2]) * np.sqrt(seen.shape[1])


class Crowd:
    """The share of other people who chose the first of the very same two pictures; it knows nothing of the person.

    What no personal method may fall below. Other people's choices are their ratings (dogs) or their true tastes
    (simulated people): a rival in practice has neither.
    """

    name = "crowd"

    def first_chosen(self, chain: Chain, asked: Asked, references: Sequence[Pair]) -> np.ndarray | None:
        """The share as probability."""
        return asked.crowd


class Chance:
    """One half."""

    name = "chance"

    def first_chosen(self, chain: Chain, asked: Asked, references: Sequence[Pair]) -> np.ndarray:
        """One half each."""
        return np.full(len(asked.questions), 0.5)


PREDICTORS: dict[str, Predictor] = {
    p.name: p for p in (Model(), LanguageModel(), ClipLogisticRegression(), Crowd(), Chance())
}
"""Every predictor by name."""
