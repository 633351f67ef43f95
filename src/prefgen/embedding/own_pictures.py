"""What sets a person's liked pictures apart from the disliked ones, by these pictures alone.

Evidence and preference model know what they were trained on. Of photographs or of a designer's drawings they may know
little, yet a few labelled pictures say something by themselves: a ridge regression of the labels on several views of
the pictures (`prefgen.embedding.appearance`, and the picture tower's embedding), each counting the same. Nothing of it
is trained (ours; least-squares classification, Suykens and Vandewalle 1999, doi:10.1023/A:1018628609742).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RIDGE = 1.0
"""Penalty beside a kernel whose mean over the pictures is 1; with a third or threefold of it answers hardly change."""
FLOOR = 0.1
"""Of a view's mean variance, added to that of each of its dimensions: what never varied is not what matters most."""


class OwnPictures:
    """The regression of one history.

    `views` are [n, d] each, one row for each picture; `labels` [n] are 1 (liked) and -1; `weights` [n] above 0 say how
    much each counts. With one side alone there is nothing to set apart, and all answers are 0.
    """

    def __init__(self, views: Sequence[Tensor], labels: Tensor, weights: Tensor) -> None:
        self.views = [view.double() for view in views]
        self.labels, n = labels.double(), len(labels)
        self.says_something = bool((labels > 0).any() and (labels < 0).any())
        if not self.says_something:
            return
        system = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        system[:n, :n] = self._towards(self.views) + torch.diag(RIDGE * weights.double().mean() / weights.double())
        system[:n, n] = system[n, :n] = 1
        self._inverse = torch.linalg.inv(system)
        self._solved = self._inverse @ torch.cat([self.labels, self.labels.new_zeros(1)])

    def margins(self, asked: Sequence[Tensor]) -> Tensor:
        """float64 [n_asked], about -1 (as the disliked ones) to 1 (as the liked ones), of pictures given by the same
        views [n_asked, d]."""
        if not self.says_something:
            return torch.zeros(len(asked[0]), dtype=torch.float64)
        return self._towards([view.double() for view in asked]) @ self._solved[:-1] + self._solved[-1]

    def left_out(self) -> Tensor:
        """float64 [n]: what the other pictures say of each, in closed form (Cawley and Talbot 2004,
        doi:10.1016/j.neunet.2004.07.002)."""
        if not self.says_something:
            return torch.zeros(len(self.labels), dtype=torch.float64)
        return self.labels - self._solved[:-1] / self._inverse.diagonal()[:-1]

    def _towards(self, asked: Sequence[Tensor]) -> Tensor:
        """Inner products [n_asked, n] of standard scores, the mean over the views. A picture farther out than the
        history's own are on the average is drawn in to that distance."""
        return torch.stack([_kernel(view, of) for view, of in zip(self.views, asked, strict=True)]).mean(0)


def _kernel(view: Tensor, asked: Tensor) -> Tensor:
    middle, variance = view.mean(0), view.var(0, correction=0)
    spread = (variance + FLOOR * variance.mean()).sqrt().clamp_min(1e-9)
    own, others = (view - middle) / spread, (asked - middle) / spread
    size = own.square().sum(1).mean().clamp_min(1e-12)
    far = (others.square().sum(1, keepdim=True) / size).sqrt().clamp_min(1) if asked is not view else 1
    return others / far @ own.T / size
