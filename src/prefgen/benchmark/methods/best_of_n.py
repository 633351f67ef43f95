"""Paint several, keep one: a logistic regression on CLIP features of the history picks among n plain pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from prefgen.benchmark.chain import clip_embeddings, paint_tasks
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.tasks import Shelf, Task
from prefgen.core import seed_of


class BestOfNMethod:
    """The plain model's `n` pictures of a prompt from n seeds, the one kept that a person's own classifier likes best.

    The classifier is an L2-regularised logistic regression from CLIP embeddings to the person's labels, fitted on
    their pictures. It costs n times the plain model's network calls, so it is read beside methods of that cost.
    """

    name = "best_of_n"
    needs: tuple[Need, ...] = ("images", "dislikes")
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench, *, guidance_scale: float = 3.0, n: float = 4, c: float = 0.1) -> None:
        self.bench, self.guidance_scale, self.n, self.c = bench, guidance_scale, int(n), c

    def classifier(self, shelf: Shelf) -> Callable[[Sequence[Image.Image]], np.ndarray]:
        """Log odds of liking, float [n], of pictures; all the same for a history of one side only."""
        from sklearn.linear_model import LogisticRegression  # imported here: it takes a second

        labels = np.array([True] * len(shelf.liked) + [False] * len(shelf.disliked))
        if len(set(labels.tolist())) < 2:
            return lambda pictures: np.zeros(len(pictures))
        fitted = LogisticRegression(C=self.c).fit(self.features([*shelf.liked, *shelf.disliked]), labels)
        return lambda pictures: fitted.decision_function(self.features(pictures))

    def features(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """float32 [n, d_clip], each of mean square 1."""
        seen = clip_embeddings(self.bench.chain, pictures)
        return (seen / seen.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)).cpu().numpy()

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        shelves = {id(t.case.shelf): t.case.shelf for t in tasks}
        likings = {key: self.classifier(shelf) for key, shelf in shelves.items()}
        tries = [
            t if k == 0 else replace(t, seed=seed_of("best of n", t.seed, k) % 2**31)
            for t in tasks
            for k in range(self.n)
        ]
        made = paint_tasks(self.bench.chain, tries, self.bench.sampling, guidance_scale=self.guidance_scale)
        kept: list[np.ndarray] = []
        for i, task in enumerate(tasks):
            candidates = made[i * self.n : (i + 1) * self.n]
            liking = likings[id(task.case.shelf)]([Image.fromarray(p) for p in candidates])
            kept.append(candidates[int(liking.argmax())])
        return kept
