"""User encoder and adapter learn on: a history is heard, and a picture of the same person's other prompt is painted.

What is heard is what `PrefGen` hears: tokens elected among the pictures of a history; and in every second step those of
the whole embedding, which vote in that election and read hidden states of the language model. A liked row hears likes
and paints a liked picture, a disliked row hears dislikes and paints a disliked one. Painted twins between them keep
what the start model learned from pictures whose hand is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from prefgen.adapter import UserTokens, load_adapter, save_adapter
from prefgen.core import numpy_rng, torch_generator
from prefgen.diffusion import flow_matching_loss
from prefgen.embedding import SIDES, UserEncoder
from prefgen.recipes import ranks
from prefgen.recipes.adapters import DISLIKED_ROWS, NOBODY_RATE, PersonalGenerator, TwinRows, twin_losses
from prefgen.recipes.checkpoint import fingerprint, save_json
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.latents import listening_times
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.own_data.best import Best
from prefgen.recipes.own_data.people import Opinion
from prefgen.recipes.own_data.settings import OwnDataPreset
from prefgen.recipes.own_data.states import States, case_of, opinions_on
from prefgen.recipes.twins import twins_of

STAGE = "own-adapter"
NO_PROMPT_RATE = 0.1, 0.5
"""Share of liked and of disliked rows whose prompt is left out, for classifier-free guidance."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A picture to be painted, and the division of its person that is heard."""

    place: int
    variant: int
    target: Opinion
    prompt: str
    heard: bool

    @property
    def side(self) -> int:
        """0 where it is liked, 1 where it is disliked."""
        return int(self.target.side == "dislike")


def rows_at(states: States, step: int, n: int, n_variants: int, seed: int) -> list[Row]:
    """The rows of a step, a pure function of it."""
    rng = numpy_rng("own rows", seed, step)
    rows: list[Row] = []
    for _ in range(n):
        place = int(states.people.paintable[int(rng.integers(len(states.people.paintable)))])
        variant = int(rng.integers(n_variants))
        targets = case_of(states.people, place, variant).targets
        disliked = [t for t in targets if t.side == "dislike"]
        of_side = disliked if disliked and rng.random() < DISLIKED_ROWS else [t for t in targets if t.side == "like"]
        target = of_side[int(rng.integers(len(of_side)))]
        unsaid = rng.random() < NO_PROMPT_RATE[int(target.side == "dislike")]
        prompt = "" if unsaid else target.prompt or ""
        rows.append(
            Row(place=place, variant=variant, target=target, prompt=prompt, heard=bool(rng.random() >= NOBODY_RATE))
        )
    return rows


def tokens_of(encoder: UserEncoder, states: States, row: Row, side: int, *, elected: bool) -> Tensor:
    """One side's tokens [n_tokens, d_cross] of a row's history: as `PrefGen` hears them, or the whole embedding's."""
    case = case_of(states.people, row.place, row.variant)
    where = next(encoder.parameters())
    own, other = (states.side(row.place, row.variant, case, k).to(where) for k in (side, 1 - side))
    one = encoder.side(SIDES[side])
    whole = one.tokens(one.embed(own))[0]
    if not opinions_on(case, side):
        return whole * 0
    if not elected:
        return whole
    others = opinions_on(case, 1 - side)
    against = other.images[0, : len(others)], other.weights[0, : len(others)]
    return encoder.person_tokens(SIDES[side], whole, (own.images[0], own.weights[0]), against)[0]


def heard_tokens(encoder: UserEncoder, states: States, rows: Sequence[Row], *, elected: bool) -> UserTokens | None:
    """What each row hears: its own side's tokens, zeros on the other side; None where nobody is heard."""
    sides: dict[str, Tensor] = {}
    for number, name in enumerate(SIDES):
        if not any(row.heard and row.side == number for row in rows):
            continue
        spoken = [tokens_of(encoder, states, row, number, elected=elected) for row in rows]
        mask = torch.tensor([float(row.heard and row.side == number) for row in rows])
        said = torch.stack(spoken)
        sides[name] = said * mask.to(said)[:, None, None]
    return UserTokens(**sides) if sides else None


def train_personal_on(c: Context, p: OwnDataPreset, start: Path, states: dict[str, States], made_from: str) -> None:
    """Trains `start`'s user encoder and adapter on the frozen generator of `out`, and saves those that lost least on
    validation people."""
    done = c.work / f"{STAGE}.done.json"
    made_from = f"{made_from}.{fingerprint(c.out / 'mllm')}"
    if not p.adapter_samples or (done.exists() and json.loads(done.read_text()) == made_from):
        return
    torch.manual_seed(p.seed)
    painter = Painter.of(start, c.out)
    model = painter.model
    n_twins = round(p.simulated_share * p.adapter_batch)
    twins = twins_of(c) if n_twins else None

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = rows_at(states["train"], step, p.adapter_batch - n_twins, p.n_variants, p.seed)
        flow = painter.flow(states["train"], rows, generator, elected=step % 2 == 0).mean()
        learned = next(x for x in model.parameters() if x.requires_grad)
        tie = 0 * learned.sum()  # a step in which nobody is heard has a way back too
        if twins is None:
            return {"loss": flow + tie, "flow": flow}
        drawn = TwinRows(twins, numpy_rng("own twins", p.seed, step), n_twins, DISLIKED_ROWS)
        painted = twin_losses(model, drawn, painter.text, generator, None)["flow"]
        share = n_twins / p.adapter_batch
        return {"loss": (1 - share) * flow + share * painted + tie, "flow": flow, "twins": painted}

    def lost(_: nn.Module) -> float:
        return float(flow_of_people(painter, states["validation"], p).mean())

    best = Best(c.work / f"{STAGE}.best.safetensors", model, lost, c.say, made_from)
    loop = Loop(STAGE, c.work, model, loss, adapter_settings(p), show_fn=best.look, made_from=made_from)
    best.of(loop, c.deadline)
    model.adapter.eject()
    if ranks.is_first():
        model.encoder.eval().save(c.out / "user_encoder")
        save_adapter(model.adapter, c.out / "adapter", torch.float16)
        save_json(done, made_from)
    ranks.wait()


def adapter_settings(p: OwnDataPreset) -> LoopSettings:
    """The loop over rows."""
    return LoopSettings(
        n_samples=p.adapter_samples,
        batch_size=p.adapter_batch,
        learning_rate=p.adapter_rate,
        warmup_samples=p.adapter_samples // 10,
        ema_decay=0.999,
        decay_fraction=0.3,
        seed=p.seed,
        show_every=max(p.adapter_batch, p.choose_every),
    )


class Painter:
    """The half of a model folder that paints for people: a frozen generator, a user encoder and an adapter."""

    def __init__(self, model: PersonalGenerator, text: TextEncoding) -> None:
        self.model, self.text = model, text

    @classmethod
    def of(cls, personal: Path, generator: Path) -> Painter:
        """User encoder and adapter of one folder in the generator of another; injected, ready to paint."""
        unet: Any = UNet2DConditionModel.from_pretrained(generator / "unet", torch_dtype=torch.float32).eval()
        encoder = UserEncoder.load(personal / "user_encoder")
        adapter = load_adapter(personal / "adapter", unet).float()
        model = PersonalGenerator(encoder.requires_grad_(True), adapter.requires_grad_(True), unet)
        model.adapter.inject(unet)
        return cls(model, TextEncoding(generator))

    def flow(
        self,
        states: States,
        rows: Sequence[Row],
        generator: torch.Generator,
        *,
        elected: bool,
        n_draws: int = 1,
    ) -> Tensor:
        """float32 [n_rows · n_draws]: what is lost in painting the rows' targets, told their prompts and hearing their
        people, each at `n_draws` times and noises."""
        heard = heard_tokens(self.model.encoder, states, rows, elected=elected)
        heard = repeated(heard, n_draws)
        rows = [row for row in rows for _ in range(n_draws)]
        latents = states.people.rows("latents", [row.target.key for row in rows])
        words, times = self.text([row.prompt for row in rows]), listening_times(len(rows), generator)
        with self.model.adapter.users(own_rows(heard)):
            return flow_matching_loss(self.model.velocity, latents, words, generator, times=times).per_sample


@torch.no_grad()
def flow_of_people(painter: Painter, states: States, p: OwnDataPreset, *, heard: bool = True) -> np.ndarray:
    """float64 [n_people]: the flow loss on one liked picture each, held out with its prompt, at `flow_draws` times and
    noises that are always the same; with the person heard or nobody."""
    painter.model.eval()
    flow = partial(painter.flow, states, elected=True, n_draws=p.flow_draws)
    return np.array([float(flow([row], generator).mean()) for row, generator in held_rows(states, p, heard=heard)])


def held_rows(states: States, p: OwnDataPreset, *, heard: bool) -> Iterator[tuple[Row, torch.Generator]]:
    """A liked picture that was held out with its prompt, of up to `evaluated_people`, and what its times and noises are
    drawn from: always the same."""
    n = len(states.people.paintable)
    for k in sorted(numpy_rng("painted people").permutation(n)[: p.evaluated_people].tolist()):
        place = int(states.people.paintable[k])
        target = case_of(states.people, place, 0).targets[0]
        row = Row(place=place, variant=0, target=target, prompt=target.prompt or "", heard=heard)
        yield row, torch_generator("own flow", states.people.person(place).user_id)


def repeated(heard: UserTokens | None, n: int) -> UserTokens | None:
    """Each row's tokens n times, one after another."""
    sides = {side: getattr(heard, side, None) for side in SIDES}
    told = {side: tokens.repeat_interleave(n, 0) for side, tokens in sides.items() if tokens is not None}
    return UserTokens(**told) if told else None


def own_rows(heard: UserTokens | None) -> UserTokens | None:
    """This process's rows."""
    sides = {side: getattr(heard, side, None) for side in SIDES}
    return None if heard is None else UserTokens(**{k: None if v is None else ranks.own(v) for k, v in sides.items()})
