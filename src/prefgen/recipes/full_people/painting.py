"""User encoder and adapter on a published generator: a history is heard, and a picture of the same person's other
prompt is painted; `ê_sem` is drawn to the text embeddings of the strings of tastes by MMD.

The network is frozen, in any dtype, and stands outside what is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from prefgen.adapter import UserAdapter, save_adapter
from prefgen.alignment import mmd2_unbiased, retrieval_top1
from prefgen.core import numpy_rng
from prefgen.diffusion import backbone_loss
from prefgen.embedding import SIDES, UserEncoder
from prefgen.recipes import ranks
from prefgen.recipes.attention import stock_attention
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.full_people.prompts import PromptBook
from prefgen.recipes.full_presets import FullPreset
from prefgen.recipes.loop import Deadline, Loop, LoopSettings
from prefgen.recipes.own_data.best import Best
from prefgen.recipes.own_data.personal import Row, heard_tokens, held_rows, own_rows, repeated, rows_at
from prefgen.recipes.own_data.settings import OwnDataPreset
from prefgen.recipes.own_data.states import States, case_of
from prefgen.recipes.sharding import Cut

T = TypeVar("T")
STAGE = "adapter"
SAVE_EVERY_S = 1800.0
"""Weights, their average and two moments are 11 GB of SDXL's adapter: not to be written every two minutes."""


class Painter(nn.Module):
    """User encoder and adapter, which learn, and a network and a scheduler, which do not."""

    def __init__(self, network: Any, scheduler: Any, encoder: UserEncoder, adapter: UserAdapter) -> None:
        super().__init__()
        self.encoder, self.adapter = encoder, adapter
        self.frozen: list[Any] = [network, scheduler]

    def copy(self) -> Painter:
        """One whose user encoder and adapter lie in main memory, whole, whatever becomes of these."""
        network, scheduler = self.frozen
        return Painter(network, scheduler, deepcopy(self.encoder).cpu(), deepcopy(self.adapter).cpu())

    def flow(
        self,
        states: States,
        book: PromptBook,
        rows: Sequence[Row],
        generator: torch.Generator,
        *,
        n_draws: int = 1,
    ) -> Tensor:
        """float32 [n_rows · n_draws]: the generator's own loss on the rows' targets, told their prompts and hearing
        their people, each at `n_draws` times and noises."""
        network, scheduler = self.frozen
        heard = repeated(heard_tokens(self.encoder, states, rows, elected=False), n_draws)
        self.adapter.hear(self.adapter.state_for(own_rows(heard)))
        rows = [row for row in rows for _ in range(n_draws)]
        latents = states.people.rows("latents", [row.target.key for row in rows]).to(network.device, network.dtype)
        told = book([row.prompt for row in rows]).to(network.device, network.dtype)
        with stock_attention():
            return backbone_loss(network, scheduler, latents, told, generator, share=ranks.shared)


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Where the strings of a split's tastes lie, float32 [n_people, d_text] a side in the order of the people who can
    be painted for; None where there is no such string."""

    states: States
    strings: Mapping[str, Sequence[Tensor | None]]

    def pairs(self, encoder: UserEncoder, places: Sequence[int], side: str) -> tuple[Tensor, Tensor]:
        """`ê_sem` of some of those who can be painted for, and their strings, both [n, d_text]; those without a string
        are left out."""
        where = next(encoder.parameters())
        said: list[Tensor] = []
        wanted: list[Tensor] = []
        number = SIDES.index(side)
        for place in places:
            string = self.strings[side][place]
            person = int(self.states.people.paintable[place])
            if string is None:
                continue
            features = self.states.side(person, 0, case_of(self.states.people, person, 0), number).to(where)
            if bool(features.present):
                one = encoder.side(side)
                said.append(one.sem_map(one.sem_mix(features.last))[0])
                wanted.append(string.to(where))
        width = where.new_zeros(0, encoder.config.d_text)
        return (torch.stack(said), torch.stack(wanted)) if said else (width, width)


def train_painting(
    painter: Painter,
    preset: FullPreset,
    p: OwnDataPreset,
    states: Mapping[str, States],
    book: PromptBook,
    aligned: Mapping[str, Aligned],
    *,
    work: Path,
    made_from: str,
    deadline: Deadline,
    say: Callable[[str], None],
    show: Callable[[str], None] | None = None,
    cut: Cut | None = None,
) -> Callable[[Callable[[], T]], T]:
    """Trains encoder and adapter and leaves the weights that lost least on validation people in them; with `cut`, each
    of several processes' part of them. `show` is called by the first process at each look, and at the end, with a name
    for it. Returns what runs a function with these weights (`Loop.measured`).

    Raises:
        Unfinished: the time was up; call again to go on.
    """
    torch.manual_seed(p.seed)
    network = painter.frozen[0]

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = rows_at(states["train"], step, p.adapter_batch, p.n_variants, p.seed)
        flow = painter.flow(states["train"], book, rows, generator).mean()
        drawn = numpy_rng("aligned", p.seed, step).permutation(len(states["train"].people.paintable))
        apart = mmd_of(painter.encoder, aligned["train"], drawn[: preset.align_people].tolist())
        tie = 0 * next(painter.encoder.parameters()).sum()  # a step in which nobody is heard has a way back too
        return {"loss": flow + preset.align_weight * apart + tie, "flow": flow, "mmd": apart}

    def lost(_: nn.Module) -> float:
        return float(flow_of_people(painter, states["validation"], book, p).mean())

    settings = LoopSettings(
        n_samples=p.adapter_samples,
        batch_size=p.adapter_batch,
        learning_rate=p.adapter_rate,
        warmup_samples=p.adapter_samples // 50,
        ema_decay=0.999 if preset.ema else 0.0,
        seed=p.seed,
        bf16=False,
        show_every=max(p.adapter_batch, p.choose_every),
        save_every_s=SAVE_EVERY_S,
    )
    if preset.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    try:
        with painter.adapter.injected(network), painter.adapter.users(None):
            best = Best(work / f"{STAGE}.best.safetensors", painter, lost, say, made_from)

            def looked(n_seen: int) -> None:
                best.look(n_seen)
                if show is not None:
                    show(f"{n_seen:08d}")

            loop = Loop(STAGE, work, painter, loss, settings, show_fn=looked, made_from=made_from, cut=cut)
            best.of(loop, deadline)
            if show is not None and ranks.is_first():
                with ranks.alone():
                    show("best")
    finally:
        network.disable_gradient_checkpointing()
    if ranks.is_first():
        save_json(work / f"{STAGE}.done.json", made_from)
    return loop.measured


def is_done(work: Path, made_from: str) -> bool:
    """Whether this training has ended."""
    path = work / f"{STAGE}.done.json"
    return path.exists() and json.loads(path.read_text()) == made_from


def mmd_of(encoder: UserEncoder, aligned: Aligned, places: Sequence[int]) -> Tensor:
    """MMD² of both sides, averaged; 0 where a side has fewer than two people."""
    found: list[Tensor] = []
    for side in SIDES:
        said, strings = aligned.pairs(encoder, places, side)
        if len(said) > 1:
            found.append(mmd2_unbiased(said, strings))
    return torch.stack(found).mean() if found else next(encoder.parameters()).new_zeros(())


@torch.no_grad()
def retrieved(encoder: UserEncoder, aligned: Aligned) -> dict[str, Any] | None:
    """The share of people whose `ê_sem` lies nearest to their own string of 50; None for fewer than two."""
    said, strings = aligned.pairs(encoder, range(len(aligned.states.people.paintable)), "like")
    if len(said) < 2:
        return None
    return retrieval_top1(said, strings)._asdict()


@torch.no_grad()
def flow_of_people(
    painter: Painter, states: States, book: PromptBook, p: OwnDataPreset, *, heard: bool = True
) -> np.ndarray:
    """float64 [n_people]: the loss on one liked picture each, held out with its prompt, at times and noises that are
    always the same; with the person heard or nobody. The adapter must be injected."""
    painter.eval()
    portions = [min(p.adapter_batch, p.flow_draws - at) for at in range(0, p.flow_draws, p.adapter_batch)]
    found = []
    for row, generator in held_rows(states, p, heard=heard):
        lost = [painter.flow(states, book, [row], generator, n_draws=n) for n in portions]
        found.append(float(torch.cat(lost).mean()))
    return np.array(found)


def save_painter(painter: Painter, folder: Path) -> None:
    """Writes `user_encoder/` and `adapter/`."""
    painter.encoder.eval().save(folder / "user_encoder")
    save_adapter(painter.adapter, folder / "adapter", torch.float16)
