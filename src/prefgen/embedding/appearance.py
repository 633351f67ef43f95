"""How a picture looks to an eye that was never trained: its surface and its colours.

A tower trained on one world of pictures sees little of what sets other pictures apart: of designers' drawings of one
concept it tells flat from shaded, or outlined from bare, hardly better than chance. How strong the steps between
neighbouring pixels are, and which colours there are, says so of any picture (ours; a plain descendant of
edge-magnitude histograms and of colour histograms, Swain and Ballard 1991, doi:10.1007/BF00130487).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SIDE_PX = 64
"""Pictures are looked at this large, averaged over what falls into a pixel, so that flat stays flat."""

STEPS = (0.5 / 255, 1.5 / 255, 3.5 / 255, 8 / 255, 0.06, 0.12, 0.25, 0.5)
"""Where the classes of steps between neighbouring pixels end; the last class is open. The first is no step at all."""

SHADES = 5
"""Shades of each of red, green and blue."""


def appearances(pictures: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
    """Surface float32 [n, 9] and colours float32 [n, 125] of RGB pictures of any size, both square roots of shares, so
    that their differences are distances between distributions (Hellinger's)."""
    if not pictures:
        return torch.zeros(0, len(STEPS) + 1), torch.zeros(0, SHADES**3)
    small = [picture.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX) for picture in pictures]
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in small])).float() / 255
    return _surface(pixels).sqrt(), _colours(pixels).sqrt()


def _surface(pixels: Tensor) -> Tensor:
    """Shares [n, classes] of the steps to the pixel below and to the right, the greatest of the three colours."""
    across = pixels.diff(dim=2).abs().amax(-1)[:, :-1]
    down = pixels.diff(dim=1).abs().amax(-1)[:, :, :-1]
    kind = torch.bucketize(torch.maximum(across, down).flatten(1), torch.tensor(STEPS))
    return torch.nn.functional.one_hot(kind, len(STEPS) + 1).float().mean(1)


def _colours(pixels: Tensor) -> Tensor:
    """Shares [n, shades³] of colours, each pixel divided among the eight shades around it."""
    places = pixels.flatten(1, 2) * (SHADES - 1)
    low = places.floor().clamp(max=SHADES - 2).long()
    part = places - low
    shares = torch.zeros(len(pixels), SHADES**3)
    for corner in range(8):
        up = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1])
        weight = torch.where(up.bool(), part, 1 - part).prod(-1)
        red, green, blue = (low + up).unbind(-1)
        shares.scatter_add_(1, (red * SHADES + green) * SHADES + blue, weight)
    return shares / pixels[0, ..., 0].numel()
