"""How far what the models know holds for the pictures of one person, and what these pictures say by themselves.

A person's photographs may be like nothing that the models were trained on, and no distance to the training pictures
tells so reliably: a small tower takes designers' drawings for its own. Whether the models foresee the person's own
labels does. So evidence and the reading of the pictures alone (`prefgen.embedding.OwnPictures`) each foresee every
label from the others, and are believed by how well they did (ours; pseudo-Bayesian model averaging, Yao et al. 2018,
arXiv 1704.02030).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from prefgen.core import HistoryItem
from prefgen.embedding import OwnPictures, Shown, TasteEvidence, appearances

OWN_SCALE = 3.0
"""Log odds of a picture at margin 1 by the person's own pictures."""
PRIOR = 1.0
"""Log odds, before any label is foreseen, of the models' knowing better. Both by the loss of validation people's
answers (dev/LOG.md, section 15)."""
MOST_SURE = 3.0
"""Log odds beyond which being wrong costs no more: one slip of the hand proves nothing."""


@dataclass(frozen=True, kw_only=True)
class OwnReading:
    """`odds` float64 [n_asked]: log odds of the pictures asked about by the person's own pictures; `credence` in [0, 1]
    of the models beside it."""

    odds: Tensor
    credence: float

    def beside(self, told: Tensor) -> Tensor:
        """The models' log odds [n_asked] and these, each as far as it is believed."""
        return self.credence * told + (1 - self.credence) * self.odds


def read_own_pictures(
    items: Sequence[HistoryItem],
    voices: Tensor,
    features: Tensor,
    asked: Sequence[Image.Image],
    asked_features: Tensor,
    shown: Shown,
    evidence: TasteEvidence,
) -> OwnReading:
    """`items` of a history speak as loudly as `voices` [n]; `features` [n, d_clip] and `asked_features`
    [n_asked, d_clip] are CLIP embeddings, `shown` is what evidence is told of the items. An item that stands for one
    aspect is no example of the whole, and is left out."""
    heard = [k for k, item in enumerate(items) if item.aspect == "all" and voices[k] > 0]
    labels = torch.tensor([1.0 if items[k].side == "like" else -1.0 for k in heard])
    views = (*appearances([items[k].image for k in heard]), features[heard].cpu())
    own = OwnPictures(views, labels, voices[heard])
    odds = OWN_SCALE * own.margins((*appearances(asked), asked_features.cpu()))
    if not own.says_something:
        return OwnReading(odds=odds, credence=1.0)
    better = _likelihoods(left_out(shown, evidence)[heard], labels) - _likelihoods(OWN_SCALE * own.left_out(), labels)
    credence = (PRIOR + (voices[heard].clamp(max=1).double() * better).sum()).sigmoid()
    return OwnReading(odds=odds, credence=float(credence))


def _likelihoods(odds: Tensor, labels: Tensor) -> Tensor:
    """Log likelihoods of the labels (1 or -1), [n]."""
    return F.logsigmoid((labels * odds).clamp(-MOST_SURE, MOST_SURE))


@torch.no_grad()
def left_out(shown: Shown, evidence: TasteEvidence) -> Tensor:
    """float64 [n]: evidence's log odds of each picture of one history by the others, beyond what it says of nobody."""
    n = shown.side.shape[1]
    others = 1 - torch.eye(n + 1, n, device=shown.weights.device)
    others[n] = 0  # nobody's history

    def repeated(x: Tensor) -> Tensor:
        return x.expand(n + 1, *x.shape[1:])

    told = Shown(**{name: repeated(getattr(shown, name)) for name in Shown.__dataclass_fields__})
    told = replace(told, weights=told.weights * others)
    every = evidence(told).margins(repeated(shown.words), repeated(shown.manner)).cpu().double()  # [n + 1, n]
    return evidence.config.scale * (every[:n].diagonal() - every[n])
