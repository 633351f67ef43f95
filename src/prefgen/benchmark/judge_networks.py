"""Two ways of reading a picture that share no layer: one judge's errors are not the other's."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prefgen.core import ConfigError

Architecture = Literal["residual", "convnext"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(y)))


class ResidualTrunk(nn.Module):
    """A small ResNet on pixels folded two by two: 64 px to a map of 8 by 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        n_before = 12
        for i, n in enumerate(widths):
            layers += [nn.Conv2d(n_before, n, 3, stride=1 if i == 0 else 2, padding=1, bias=False), nn.BatchNorm2d(n)]
            layers += [nn.ReLU(), _ResidualBlock(n)]
            n_before = n
        self.layers = nn.Sequential(*layers)
        self.n_out = widths[-1]

    def forward(self, pictures: Tensor) -> Tensor:
        """[batch, 3, 64, 64] to [batch, n_out, 8, 8]."""
        return self.layers(pictures)


class _ConvNextBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(F.gelu(self.widen(y))) * self.scale
        return x + y.permute(0, 3, 1, 2)


class ConvNextTrunk(nn.Module):
    """A small ConvNeXt (arXiv 2201.03545) on 4 px patches: 64 px to a map of 8 by 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, stride=4)
        self.fine = nn.Sequential(*[_ConvNextBlock(width) for _ in range(2)])
        self.fold = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.coarse = nn.Sequential(*[_ConvNextBlock(2 * width) for _ in range(3)])
        self.n_out = 2 * width

    def forward(self, pictures: Tensor) -> Tensor:
        """[batch, 3, 64, 64] to [batch, n_out, 8, 8]."""
        return self.coarse(self.fold(self.fine(self.stem(pictures))))


class JudgeNetwork(nn.Module):
    """A trunk, one feature vector, and one *linear* head per question: what no head reads stays in the vector's rest.

    The vector sees means and maxima of the map (what is there) and a thin copy of the map itself (where it is).
    """

    def __init__(self, architecture: Architecture, width: int, d_features: int, heads: dict[str, int]) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise ConfigError(f"expected an architecture of {ARCHITECTURES}, got {architecture!r}")
        self.trunk = (ResidualTrunk if architecture == "residual" else ConvNextTrunk)(width)
        self.where = nn.Conv2d(self.trunk.n_out, 8, 1)
        self.features = nn.Sequential(nn.Linear(2 * self.trunk.n_out + 8 * 64, d_features), nn.LayerNorm(d_features))
        self.heads = nn.ModuleDict({name: nn.Linear(d_features, n) for name, n in heads.items()})

    def embed(self, pictures: Tensor) -> Tensor:
        """Pictures [batch, 3, 64, 64] in [-1, 1] to features [batch, d_features]."""
        places = self.trunk(pictures)
        parts = [places.mean((2, 3)), places.amax((2, 3)), self.where(places).flatten(1)]
        return F.gelu(self.features(torch.cat(parts, 1)))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Logits per head [batch, n_classes] (plain values for `traits`)."""
        features = self.embed(pictures)
        return {name: head(features) for name, head in self.heads.items()}
