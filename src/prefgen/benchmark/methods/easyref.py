"""EasyRef: learned tokens gather, inside the language model, what the liked pictures have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from prefgen.adapter import UserTokens, load_adapter
from prefgen.benchmark.chain import paint_tasks, tokens_of_shelves
from prefgen.benchmark.methods.protocol import Bench, Need, NotRun
from prefgen.benchmark.tasks import Shelf, Task
from prefgen.core import ModelError
from prefgen.mllm import PreferenceMLLM, ReferenceReader, reference_states


class EasyRefMethod:
    """Re-implementation of EasyRef (arXiv 2412.09618) on our language model, trained on our data and as many rows as
    the other baselines (`prefgen.recipes.easyref` says what differs from the paper). Dislikes are not heard."""

    name = "easyref"
    needs: tuple[Need, ...] = ("images", "training")
    training_minutes_per_person = 0.0

    def __init__(
        self, bench: Bench, *, guidance_scale: float = 3.0, like_strength: float = 1.0, user_start: float = 0.0
    ) -> None:
        self.bench, self.guidance_scale, self.like_strength = bench, guidance_scale, like_strength
        self.user_start = user_start
        folder = bench.baselines / self.name
        if not (folder / "config.json").exists():
            raise NotRun(f"because there are no weights in {folder.parent.name}/{folder.name}")
        mllm = bench.chain.mllm
        if not isinstance(mllm, PreferenceMLLM):
            raise NotRun(f"because its tokens need a PreferenceMLLM to read pictures, got {type(mllm).__name__}")
        self.mllm = mllm
        try:
            self.reader = ReferenceReader.load(folder, mllm)
            self.adapter = load_adapter(folder, bench.chain.pipe.unet).eval()
        except ModelError as error:
            raise NotRun(f"because its weights cannot be used: {error.message}") from error

    @torch.no_grad()
    def tokens(self, shelf: Shelf) -> UserTokens:
        """One row of tokens from all liked pictures at once; nobody where there are none."""
        if not shelf.liked:
            return UserTokens(like=torch.zeros(1, len(self.reader.tokens), self.adapter.d_cross))
        read = reference_states(self.mllm, [shelf.liked])
        return UserTokens(like=self.reader(read.states, read.ends.amax(1)))

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task; each shelf is read once."""
        return paint_tasks(
            self.bench.chain,
            tasks,
            self.bench.sampling,
            guidance_scale=self.guidance_scale,
            tokens=tokens_of_shelves([t.case.shelf for t in tasks], self.tokens),
            adapter=self.adapter,
            like_strength=self.like_strength,
            user_start=self.user_start,
        )
