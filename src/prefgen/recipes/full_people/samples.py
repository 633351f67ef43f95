"""Validation pictures while the adapter learns: a few held-out people's prompts, painted with them and without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from prefgen.adapter import UserTokens
from prefgen.core import torch_generator
from prefgen.diffusion import Conditions, sample
from prefgen.embedding import SIDES
from prefgen.pipeline.sheet import Strip, contact_sheet
from prefgen.recipes.full_people.painting import STAGE, Painter
from prefgen.recipes.full_people.prompts import PromptBook
from prefgen.recipes.full_people.publish import SAMPLING
from prefgen.recipes.own_data.personal import Row, held_rows, tokens_of
from prefgen.recipes.own_data.settings import OwnDataPreset
from prefgen.recipes.own_data.states import States

N_STEPS = 20
"""Steps of the generator's own sampler: these are for looking at, not for measuring."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Paints a sheet when it is told to: a line a prompt, first as nobody has it, then as the person has it.

    `rows` are whom is painted for, none of whom is learned from. The pipeline is the stock one, without text encoders;
    its scheduler must not be the one that is trained with, which would be changed.
    """

    pipe: Any
    painter: Painter
    states: States
    book: PromptBook
    rows: Sequence[Row]
    backbone: str
    side_px: int
    folder: Path
    as_nobody: list[Image.Image] = field(default_factory=list)
    """Painted at the first sheet; the network is frozen."""

    @classmethod
    def of(
        cls,
        pipe: Any,
        painter: Painter,
        states: States,
        book: PromptBook,
        p: OwnDataPreset,
        *,
        n_people: int,
        backbone: str,
        side_px: int,
        work: Path,
    ) -> Samples:
        """Sheets of up to `n_people` people in `work/samples`."""
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        rows = [row for row, _ in islice(held_rows(states, p, heard=True), n_people)]
        folder = work / "samples"
        return cls(
            pipe=pipe, painter=painter, states=states, book=book, rows=rows, backbone=backbone, side_px=side_px,
            folder=folder,
        )  # fmt: skip

    @torch.no_grad()
    def paint(self, name: str) -> None:
        """Writes `adapter-NAME.png` with the weights as they are. Nothing of the training is changed."""
        if not self.rows:
            return
        self.painter.eval()
        with self._ready():
            if not self.as_nobody:
                self.as_nobody.extend(self._painted(row, None) for row in self.rows)
            theirs = [self._painted(row, self._heard(row)) for row in self.rows]
        strips = [
            Strip(caption=row.prompt or "(no prompt)", pictures=pair, n_columns=2)
            for row, *pair in zip(self.rows, self.as_nobody, theirs)
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        sheet = contact_sheet("For nobody, and for them", strips, width_px=640)
        sheet.save(self.folder / f"{STAGE}-{name}.png")

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """The adapter out of the network, since `sample` puts it in, and the autoencoder on the card for so long."""
        network, adapter = self.painter.frozen[0], self.painter.adapter
        adapter.eject()
        self.pipe.vae.to(network.device)
        try:
            yield
        finally:
            self.pipe.vae.to("cpu")
            adapter.inject(network)

    def _heard(self, row: Row) -> UserTokens:
        """Both sides, dislikes in the branch that guidance moves away from; likes alone with FLUX, which has none."""
        sides = SIDES[:1] if self.backbone == "flux" else SIDES
        heard = (
            tokens_of(self.painter.encoder, self.states, row, number, elected=False) for number in range(len(sides))
        )
        return UserTokens(**{side: tokens[None] for side, tokens in zip(sides, heard)})

    def _painted(self, row: Row, tokens: UserTokens | None) -> Image.Image:
        """One at a time: the card was filled for training."""
        (made,) = sample(
            self.pipe,
            self.painter.adapter,
            [row.prompt],
            tokens,
            generators=[torch_generator("validation picture", row.place)],
            guidance_scale=SAMPLING[self.backbone]["guidance_scale"],
            num_inference_steps=N_STEPS,
            height=self.side_px,
            width=self.side_px,
            **self._told(row.prompt),
        )
        return made

    def _told(self, prompt: str) -> dict[str, Any]:
        told = _embeddings(self._conditions(prompt))
        if self.backbone == "flux":  # distilled: it is told its guidance, and has no other branch
            return told
        return told | {f"negative_{name}": value for name, value in _embeddings(self._conditions("")).items()}

    def _conditions(self, prompt: str) -> Conditions:
        network = self.painter.frozen[0]
        return self.book([prompt]).to(network.device, network.dtype)


def _embeddings(told: Conditions) -> dict[str, Tensor]:
    pooled = {} if told.pooled is None else {"pooled_prompt_embeds": told.pooled}
    return {"prompt_embeds": told.text, **pooled}
