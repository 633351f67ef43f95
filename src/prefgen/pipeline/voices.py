"""How loudly each picture of a history speaks, before it is asked how far its label can be trusted."""

from __future__ import annotations

import torch
from torch import Tensor

from prefgen.core import History

FADING_PER_YEAR = 1.0
"""A picture that was judged a year before the newest speaks e⁻¹ as loudly (ours). Of 0, 1, 2, 4 and 8 this one gains
nearly all that can be gained where taste has drifted, and takes nothing where it has not (dev/LOG.md, section 13)."""
SECONDS_A_YEAR = 365 * 86_400.0


def weights_by_age(history: History) -> Tensor:
    """float32 [n_items]: how loudly each picture speaks before trust is asked: its weight, and less the longer before
    the history's newest picture it was judged. A picture without a date has its weight."""
    newest = max((item.time_s for item in history.items if item.time_s is not None), default=0.0)
    ages = [0.0 if item.time_s is None else (newest - item.time_s) / SECONDS_A_YEAR for item in history.items]
    return torch.tensor([item.weight for item in history.items]) * torch.exp(-FADING_PER_YEAR * torch.tensor(ages))
