"""Seeds that depend on what they are for, never on the order in which things run."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def seed_of(*parts: object) -> int:
    """A 63-bit seed from any printable parts: the same parts give the same seed on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def numpy_rng(*parts: object) -> np.random.Generator:
    """A numpy random generator seeded by `seed_of(*parts)`."""
    return np.random.default_rng(seed_of(*parts))


def torch_generator(*parts: object) -> torch.Generator:
    """A CPU torch generator seeded by `seed_of(*parts)`."""
    return torch.Generator().manual_seed(seed_of(*parts))
