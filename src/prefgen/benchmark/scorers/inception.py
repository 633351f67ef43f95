"""FID by its own definition: Inception features of at least 2,048 pictures on either side (arXiv 1706.08500).

Needs the extra `eval-tv` (torch-fidelity, which needs torchvision). Features of any other network are never called FID
here; on small sets KID and CMMD are reported instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from prefgen.benchmark.scorers.weights import state_of
from prefgen.core import InputError, PrefGenError

LEAST = 2_048
"""Fewer pictures than feature dimensions leave the covariance singular, and the figure depends on their number."""
EXTRA = "pip install 'prefgen[eval-tv]' (brings torchvision; not for machines with torch+cpu from a file)"
SOURCE = "weights-inception-2015-12-05-6726825d.pth of torch-fidelity v0.2.0"


def frechet_distance(made: np.ndarray, real: np.ndarray) -> float:
    """`|m1 - m2|² + Tr(C1 + C2 - 2·(C1·C2)^½)` of two clouds [n, d] and [m, d], in float64.

    The trace of the root is the sum of the roots of the eigenvalues of `C1^½·C2·C1^½`, which is symmetric.
    """
    clouds = [np.asarray(x, dtype=np.float64) for x in (made, real)]
    means = [x.mean(0) for x in clouds]
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in clouds]
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)).sum()
    apart = ((means[0] - means[1]) ** 2).sum()
    return float(apart + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * shared)


class InceptionFid:
    """`features` of pictures, and `fid` between two sets of features."""

    name = "fid_inception_v3"

    def __init__(self, network: Any) -> None:
        self.network = network

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu") -> InceptionFid:
        """From the weights that torch-fidelity publishes, converted to one safetensors file: a pickle is not read.

        Raises:
            PrefGenError: the extra is not installed.
            ModelError: no safetensors file lies at `path`.
        """
        try:
            from torch_fidelity import feature_extractor_inceptionv3 as module  # pyright: ignore[reportMissingImports]
        except Exception as error:  # without torchvision the import fails in several ways
            raise PrefGenError(f"FID needs torch-fidelity with torchvision: {error}", hint=EXTRA) from error
        state = state_of(path, f"Inception ({SOURCE})")
        fetch = module.load_state_dict_from_url
        module.load_state_dict_from_url = lambda *_, **__: state  # its only other way to weights unpickles a file
        try:
            network = module.FeatureExtractorInceptionV3("inception-v3", ["2048"])
        finally:
            module.load_state_dict_from_url = fetch
        return cls(network.to(device))

    @torch.no_grad()
    def features(self, pictures: Sequence[Image.Image], batch: int = 64) -> np.ndarray:
        """float32 [n, 2048]; pictures of any one size, resized as the original does."""
        rows = []
        for start in range(0, len(pictures), batch):
            arrays = [np.asarray(p.convert("RGB")) for p in pictures[start : start + batch]]
            pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
            rows.append(self.network(pixels)[0].float().cpu().numpy())
        return np.concatenate(rows)

    def fid(self, made: np.ndarray, real: np.ndarray) -> float:
        """FID of two sets of features [n, 2048].

        Raises:
            InputError: either side has fewer than 2,048 pictures.
        """
        if min(len(made), len(real)) < LEAST:
            hint = "KID and CMMD are unbiased for small sets"
            raise InputError(
                f"expected at least {LEAST} pictures on either side, got {len(made)}, {len(real)}", hint=hint
            )
        return frechet_distance(made, real)
