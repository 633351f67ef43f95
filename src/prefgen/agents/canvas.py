"""A picture in the making: what every treatment is handed.

A treatment is a small function on a `Canvas` that changes its `image` (float32 [side, side, 3] in [0, 1]). Lengths are
in 1/64 of the side. Treatments keep to their own channel as far as they can (motifs to the sky, textures to value), so
that two families can be told apart in one picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prefgen.agents.fields import N_BANK, Fields
from prefgen.agents.palettes import Colours

PAPER = np.array([0.965, 0.955, 0.93], dtype=np.float32)


@dataclass(kw_only=True)
class Canvas:
    """A picture in the making. `sky` and `subject` are coverage masks float32 [side, side]."""

    image: np.ndarray
    f: Fields
    colours: Colours
    rng: np.random.Generator
    sky: np.ndarray
    subject: np.ndarray
    centre: tuple[float, float]
    density: float = 0.0

    def px(self, length: float) -> int:
        """A length in 1/64 units as whole pixels."""
        return max(1, round(length * self.f.unit))

    def bank(self, patterns: np.ndarray) -> np.ndarray:
        """One pattern of a bank, rolled at random."""
        n = self.f.side_px
        return np.roll(patterns[self.rng.integers(N_BANK)], self.rng.integers(0, n, 2), (0, 1))

    def mix(self, mask: np.ndarray, colour: np.ndarray, strength: float = 1.0) -> None:
        """Lays a colour over the picture through a mask."""
        weight = (mask * strength)[..., None]
        self.image = self.image * (1 - weight) + colour * weight

    def shade(self, amount: np.ndarray) -> None:
        """Darkens (negative) or lightens (positive) by an amount in [-1, 1] per pixel."""
        a = amount[..., None]
        self.image = np.where(a < 0, self.image * (1 + a), self.image + (1 - self.image) * a)


def soft(distance: np.ndarray, width: float = 0.6) -> np.ndarray:
    """Coverage float32 of where a signed distance is below zero, its edge `width` wide."""
    return np.clip(0.5 - distance / width, 0, 1).astype(np.float32)


Treatment = Callable[[Canvas], None]
