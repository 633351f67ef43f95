"""The stock IP-Adapter: trained to reconstruct the very picture it is shown, then shown what the person likes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefgen.adapter import UserTokens
from prefgen.benchmark.chain import clip_embeddings, paint_tasks, tokens_of_shelves
from prefgen.benchmark.methods.baseline_adapter import BaselineAdapter
from prefgen.benchmark.methods.protocol import Bench, Need, NotRun
from prefgen.benchmark.tasks import Shelf, Task
from prefgen.core import ModelError


class IpAdapterMethod:
    """A decoupled cross-attention over the liked pictures' CLIP embeddings (method: IP-Adapter, arXiv 2308.06721)."""

    name = "ip_adapter"
    weights = "ip_adapter"
    """The folder of the weights among the baselines."""
    needs: tuple[Need, ...] = ("images", "training")
    training_minutes_per_person = 0.0

    def __init__(
        self, bench: Bench, *, guidance_scale: float = 3.0, like_strength: float = 1.0, user_start: float = 0.0
    ) -> None:
        self.bench, self.guidance_scale, self.like_strength = bench, guidance_scale, like_strength
        self.user_start = user_start
        folder = bench.baselines / self.weights
        if not (folder / "config.json").exists():
            raise NotRun(f"because there are no weights in {folder.parent.name}/{folder.name}")
        try:
            self.baseline = BaselineAdapter.load(folder, bench.chain.pipe.unet)
        except ModelError as error:
            raise NotRun(f"because its weights cannot be used: {error.message}") from error

    def tokens(self, shelf: Shelf) -> UserTokens:
        """One row of tokens for a shelf."""
        return self.baseline.tokens(clip_embeddings(self.bench.chain, shelf.liked))

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        return paint_tasks(
            self.bench.chain,
            tasks,
            self.bench.sampling,
            guidance_scale=self.guidance_scale,
            tokens=tokens_of_shelves([t.case.shelf for t in tasks], self.tokens),
            adapter=self.baseline.adapter,
            like_strength=self.like_strength,
            user_start=self.user_start,
        )
