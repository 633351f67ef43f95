"""The losses of preference fine-tuning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over answer tokens: logits [n, vocabulary], targets [n]."""
    return F.cross_entropy(logits.float(), targets)


def preference_loss(liked: Tensor, disliked: Tensor) -> Tensor:
    """`L_CP = -log σ(l⁺_yes - l⁻_yes) - log σ(l⁻_no - l⁺_no)` (arXiv 2508.08220), averaged over pairs.

    `liked` and `disliked` float [n, 2]: the logits of Yes and No for a liked and a disliked query of one user.
    """
    liked, disliked = liked.float(), disliked.float()
    return -(F.logsigmoid(liked[:, 0] - disliked[:, 0]) + F.logsigmoid(disliked[:, 1] - liked[:, 1])).mean()


def same_user_loss(states: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE between two disjoint histories of each user (ours): so that taste without words enters the state too.

    `states` float [2·n, d]: rows 2i and 2i+1 are one user's.
    """
    z = F.normalize(states.float(), dim=-1)
    similarity = (z @ z.T) / temperature
    similarity = similarity.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), float("-inf"))
    twin = torch.arange(len(z), device=z.device) ^ 1
    return F.cross_entropy(similarity, twin)
