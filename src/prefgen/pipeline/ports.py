"""What the pipeline asks of a preference model: any multimodal language model that speaks these three verbs will do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image
from torch import Tensor

from prefgen.core import History

if TYPE_CHECKING:
    from prefgen.pipeline.word_edits import WordEdits

TextEmbedding = Callable[[Sequence[str]], Tensor]
"""Strings to the text encoder's pooled embeddings, float [n, d_text]."""


class SideStates(Protocol):
    """Hidden states of one side of a history, each [n_states, d_lm]; see `prefgen.embedding.SideFeatures`."""

    @property
    def last(self) -> Tensor:
        """Every hidden state at the last token of this side's question."""
        ...

    @property
    def mean(self) -> Tensor:
        """Every hidden state averaged over this side's picture tokens."""
        ...


class HistoryStates(Protocol):
    """Hidden states of both sides."""

    @property
    def like(self) -> SideStates:
        """The likes' states."""
        ...

    @property
    def dislike(self) -> SideStates:
        """The dislikes' states."""
        ...


class PreferenceModel(Protocol):
    """A model that has been taught to look at a history.

    A model whose methods also take `notes_like` and `notes_dislike` (sequences of words) is told a person's word edits
    as lines of text ("I like gold."); one whose methods do not is not told.
    """

    def encode(self, history: History) -> HistoryStates:
        """Hidden states of both sides, also of an empty one."""
        ...

    def score(self, history: History, images: Sequence[Image.Image]) -> list[float]:
        """P(this person likes the picture), calibrated, for each picture."""
        ...

    def explain(self, history: History) -> Mapping[str, Sequence[tuple[str, float, float]]]:
        """`{"likes": [(word, weight, confidence), …], "dislikes": […]}`."""
        ...


def notes_for(method: Callable[..., Any], edits: WordEdits) -> dict[str, tuple[str, ...]]:
    """The word edits as keyword arguments, if there are any and `method` takes them."""
    if not (edits.like or edits.dislike) or "notes_like" not in inspect.signature(method).parameters:
        return {}
    return {"notes_like": edits.like, "notes_dislike": edits.dislike}
