"""How far each picture's label is trusted: a slip of the hand should not become a taste.

The preference model knows from the rest of a history whether a person would like a picture. Where it is sure of the
opposite of what the label says, the label is likelier a slip, or a taste that has passed, than an opinion (ours).
"""

from __future__ import annotations

import torch
from torch import Tensor

from prefgen.core import History
from prefgen.pipeline.ports import PreferenceModel, notes_for
from prefgen.pipeline.word_edits import WordEdits

N_FOLDS = 8
"""Parts of a history that are asked about in turn; up to this many pictures each is asked about alone."""
NO_TRUST, FULL_TRUST = 0.1, 0.3
"""Below the first probability of its own side a picture has no voice, from the second on all of it. Of 320 validation
labels the model gave less than 0.2 to 17 of the 30 flipped ones and to one of the others (dev/LOG.md)."""


def trust_in_labels(history: History, edits: WordEdits, mllm: PreferenceModel) -> Tensor:
    """float32 [n_items], 0 to 1. A picture alone is trusted; the history is told `N_FOLDS` times at most."""
    trust = torch.ones(len(history))
    for fold in range(min(N_FOLDS, len(history))):
        asked = range(fold, len(history), N_FOLDS)
        rest = tuple(item for place, item in enumerate(history.items) if place not in asked)
        if not rest:
            continue
        items = [history.items[place] for place in asked]
        likings = mllm.score(History(items=rest), [item.image for item in items], **notes_for(mllm.score, edits))
        for place, item, liking in zip(asked, items, likings, strict=True):
            own_side = liking if item.side == "like" else 1 - liking
            trust[place] = min(1.0, max(0.0, (own_side - NO_TRUST) / (FULL_TRUST - NO_TRUST)))
    return trust
