"""The five linear layers with which both the LAION aesthetic predictor and ImageReward turn a vector into a score."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (1024, 128, 64, 16, 1)


class RewardHead(nn.Module):
    """[n, width] to [n]. No activation between the layers; the gaps in their numbers are dropout, as published."""

    def __init__(self, width: int) -> None:
        super().__init__()
        linear = [nn.Linear(a, b) for a, b in zip((width, *WIDTHS), WIDTHS)]
        self.layers = nn.Sequential(
            linear[0], nn.Dropout(0.2), linear[1], nn.Dropout(0.2), linear[2], nn.Dropout(0.1), linear[3], linear[4]
        )

    def forward(self, x: Tensor) -> Tensor:
        """One score a row."""
        return self.layers(x).squeeze(-1)
