"""BAGEL: a unified model of 7 billion parameters, shown the liked pictures in its context. Never run here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefgen.benchmark.methods.protocol import Bench, Need, NotRun
from prefgen.benchmark.tasks import Task

PUBLIC_WEIGHTS = "ByteDance-Seed/BAGEL-7B-MoT"
INDEX = "ae.safetensors"
"""A file that every copy of the public weights holds."""


class BagelMethod:
    """BAGEL (arXiv 2505.14683) is compared through its public weights or not at all: the model is its scale, and a
    small network of ours under that name would be another method.

    Neither transformers nor diffusers can load those weights, whose code is a repository of its own, so that the row
    says why there is no figure even where they lie in `baselines/bagel`.
    """

    name = "bagel"
    needs: tuple[Need, ...] = ("images", "training")
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench) -> None:
        folder = bench.baselines / self.name
        if not (folder / INDEX).exists():
            raise NotRun(
                f"because its public weights ({PUBLIC_WEIGHTS}, 14 billion parameters of which 7 are active) "
                f"are not in {folder.parent.name}/{folder.name}"
            )
        raise NotRun(f"because no library that this package uses can load {PUBLIC_WEIGHTS}, which is there")

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """Never reached: the maker raises `NotRun`."""
        raise NotImplementedError
