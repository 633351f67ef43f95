"""How far each picture's label is trusted: a slip of the hand should not become a taste.

From the rest of a history it can be told whether a person would like a picture (`prefgen.pipeline.scoring`). Where that
speaks clearly against the label, it is likelier a slip, or a taste that has passed, than an opinion (ours). Models that
foresee none of a person's labels prove no slip: of designers' drawings they would silence one label in four, all of
them meant (dev/LOG.md, section 15).
"""

from __future__ import annotations

import torch
from torch import Tensor

from prefgen.core import History
from prefgen.embedding import TasteEvidence
from prefgen.pipeline.ports import PreferenceModel
from prefgen.pipeline.scoring import likings, log_odds, log_odds_of_nobody, own_reading
from prefgen.pipeline.word_edits import WordEdits

N_FOLDS = 8
"""Parts of a history that are asked about in turn; up to this many pictures each is asked about alone."""
NO_TRUST, FULL_TRUST = 0.1, 0.3
"""Below the first probability of its own side a picture has no voice, from the second on all of it. Of 640 validation
labels 54 of the 65 flipped ones got less than 0.2, and 7 of the others (dev/LOG.md, section 12)."""


def trust_in_labels(
    history: History,
    features: Tensor,
    edits: WordEdits,
    mllm: PreferenceModel,
    evidence: TasteEvidence | None = None,
) -> Tensor:
    """float32 [n_items], 0 to 1; `features` [n_items, d_clip] are the pictures' CLIP embeddings. A picture alone is
    trusted; the history is told `N_FOLDS` times at most. With evidence, doubt counts as far as the models are believed
    (`prefgen.pipeline.credence`)."""
    trust = torch.ones(len(history))
    images = [item.image for item in history.items]
    unknown = None if evidence is None else log_odds_of_nobody(images, features, mllm, evidence)
    for fold in range(min(N_FOLDS, len(history))):
        asked = list(range(fold, len(history), N_FOLDS))
        rest = [place for place in range(len(history)) if place not in asked]
        if not rest:
            continue
        known = History(items=tuple(history.items[place] for place in rest))
        question = (known, features[rest], [images[place] for place in asked], features[asked], edits, mllm)
        if evidence is None or unknown is None:
            told = likings(*question, None)
        else:
            told = (log_odds(*question, evidence) - unknown[asked]).sigmoid().tolist()
        for place, liking in zip(asked, told, strict=True):
            own_side = liking if history.items[place].side == "like" else 1 - liking
            trust[place] = min(1.0, max(0.0, (own_side - NO_TRUST) / (FULL_TRUST - NO_TRUST)))
    if evidence is None or not len(history):
        return trust
    return 1 - own_reading(history, features, [], features[:0], evidence).credence * (1 - trust)
