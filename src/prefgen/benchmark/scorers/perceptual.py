"""LPIPS (arXiv 1801.03924) through its authors' package, an extra: how different pictures look, patch by patch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from PIL import Image

from prefgen.benchmark.scorers.inception import EXTRA
from prefgen.core import InputError, PrefGenError


class Lpips:
    """Distances of pictures of one size; 0 is the same picture."""

    name = "lpips_alex"

    def __init__(self, network: Any) -> None:
        self.network = network

    @classmethod
    def from_pretrained(cls, device: str = "cpu") -> Lpips:
        """With AlexNet's trunk, as its authors advise for comparing. Raises `PrefGenError` without the extra."""
        try:
            import lpips  # pyright: ignore[reportMissingImports]
        except Exception as error:  # without torchvision the import fails in several ways
            raise PrefGenError(f"LPIPS needs its package and torchvision: {error}", hint=EXTRA) from error
        return cls(lpips.LPIPS(net="alex", verbose=False).to(device))

    @torch.no_grad()
    def distances(self, a: Sequence[Image.Image], b: Sequence[Image.Image]) -> np.ndarray:
        """float [n]: the distance of each pair."""
        if len({p.size for p in (*a, *b)}) > 1 or len(a) != len(b):
            raise InputError("expected as many pictures on either side, all of one size, got others")
        pixels = [
            torch.from_numpy(np.stack([np.asarray(p.convert("RGB")) for p in side])).permute(0, 3, 1, 2) / 127.5 - 1
            for side in (a, b)
        ]
        return self.network(*pixels).float().cpu().numpy().reshape(-1)

    def diversity(self, pictures: Sequence[Image.Image]) -> float:
        """Mean distance of all pairs; nan with fewer than two pictures."""
        pairs = list(combinations(pictures, 2))
        if not pairs:
            return float("nan")
        return float(self.distances([p for p, _ in pairs], [q for _, q in pairs]).mean())
