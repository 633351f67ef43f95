"""The painter's own pictures: what the person would have chosen, as well as the autoencoder can show it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from prefgen.agents import Scene, paint, rendering
from prefgen.benchmark.methods.oracle import ruling_taste
from prefgen.benchmark.methods.protocol import Bench, Need
from prefgen.benchmark.tasks import Task
from prefgen.core import numpy_rng


def painter_scene(task: Task) -> Scene:
    """A liked rendering of the task's prompt that no history shows."""
    return rendering(
        numpy_rng("painter", task.seed),
        ruling_taste(task),
        task.subject,
        task.setting,
        liked=True,
        seed_class=task.case.member.split,
        allow_reserved=True,
    )


@torch.no_grad()
def through_autoencoder(vae: torch.nn.Module, pictures: np.ndarray, batch: int = 32) -> np.ndarray:
    """uint8 [n, h, w, 3] encoded and decoded by an `AutoencoderKL`, as uint8."""
    like = next(vae.parameters())
    made = []
    for i in range(0, len(pictures), batch):
        x = torch.from_numpy(np.array(pictures[i : i + batch])).permute(0, 3, 1, 2).to(like) / 127.5 - 1
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.float().clamp(-1, 1)  # pyright: ignore[reportCallIssue]
        made.append(((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(made) if made else pictures


class PainterMethod:
    """The person's own liked rendering of the prompt through the autoencoder: the ceiling of wordless taste."""

    name = "painter"
    needs: tuple[Need, ...] = ("truth",)
    training_minutes_per_person = 0.0

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """One picture a task."""
        if not tasks:
            return []
        painted = np.stack([paint(painter_scene(t)) for t in tasks])
        return list(through_autoencoder(self.bench.chain.pipe.vae, painted))
