"""How far a person's pictures lie from what the model knows: distances to its training pictures in CLIP space."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prefgen.core import ModelError

N_QUANTILES = 101


@dataclass(frozen=True, kw_only=True)
class Familiarity:
    """How usual pictures are to a model.

    `distances` one a picture; `ranks` in [0, 1] the share of the model's own training pictures that lie nearer to their
    middle; `unfamiliar` the share of pictures beyond 99 % of those.
    """

    distances: tuple[float, ...]
    ranks: tuple[float, ...]

    @property
    def unfamiliar(self) -> float:
        """Share of pictures farther out than 99 % of what the model was trained on."""
        return sum(rank >= 0.99 for rank in self.ranks) / max(len(self.ranks), 1)

    def in_words(self) -> str:
        """One sentence for a person."""
        if self.unfamiliar <= 0.1:
            return "the pictures look like what the model was trained on"
        return f"{self.unfamiliar:.0%} of the pictures lie outside what the model knows: expect rougher guesses"

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"distances": list(self.distances), "ranks": list(self.ranks), "unfamiliar": self.unfamiliar}


def describe_known(features: Tensor) -> dict[str, list[float]]:
    """What `prefgen.json` keeps as `known_features`, from CLIP embeddings [n, d_clip] of training pictures.

    `mean` and `std` per dimension of the unit embeddings, and 101 `quantiles` of the training pictures' own distances.
    """
    unit = F.normalize(features.float(), dim=-1)
    mean, std = unit.mean(0), unit.std(0).clamp_min(1e-4)
    steps = torch.linspace(0, 1, N_QUANTILES)
    quantiles = torch.quantile(_distances(unit, mean, std), steps)
    return {"mean": mean.tolist(), "std": std.tolist(), "quantiles": quantiles.tolist()}


def familiarity(features: Tensor, known: Mapping[str, Sequence[float]]) -> Familiarity:
    """Distances of CLIP embeddings [n, d_clip] from `known`, as `describe_known` wrote it; unlike any: far."""
    mean, std = torch.tensor(known["mean"]), torch.tensor(known["std"])
    if mean.shape != features.shape[1:] or std.shape != mean.shape:
        raise ModelError(f"expected known features of width {features.shape[1]}, got {len(mean)}")
    distances = _distances(F.normalize(features.float().cpu(), dim=-1), mean, std).tolist()
    quantiles = list(known["quantiles"])
    ranks = tuple(min(1.0, bisect_right(quantiles, distance) / max(len(quantiles) - 1, 1)) for distance in distances)
    return Familiarity(distances=tuple(distances), ranks=ranks)


def _distances(unit: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Root mean square of the standard scores: about 1 for a usual picture."""
    return ((unit - mean) / std).square().mean(-1).sqrt()
