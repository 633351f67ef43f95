"""The last stage: everything that was prepared comes together in a painter, which learns and is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prefgen.adapter import UserAdapter, network_of
from prefgen.embedding import SIDES, UserEncoder, UserEncoderConfig
from prefgen.history.splits import SPLITS, Split
from prefgen.pipeline.texts import pooled_widths
from prefgen.probing import LayerChoice
from prefgen.recipes import ranks
from prefgen.recipes.four_bit import quantise
from prefgen.recipes.full_people.painting import (
    STAGE,
    Aligned,
    Painter,
    flow_of_people,
    is_done,
    retrieved,
    train_painting,
)
from prefgen.recipes.full_people.parts import Parts, freed
from prefgen.recipes.full_people.prompts import PromptBook, pooled, prompt_book, texts_of
from prefgen.recipes.full_people.samples import Samples
from prefgen.recipes.full_people.strings import Strings
from prefgen.recipes.loop import Deadline, first_then_all
from prefgen.recipes.own_data.best import take
from prefgen.recipes.own_data.report import Figures
from prefgen.recipes.own_data.settings import OwnDataPreset
from prefgen.recipes.own_data.states import States, case_of
from prefgen.recipes.sharding import Cut, by_itself, layers_of, over_all_ranks


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the earlier stages have made."""

    parts: Parts
    p: OwnDataPreset
    states: Mapping[Split, States]
    strings: Mapping[Split, Strings]
    layers: LayerChoice
    work: Path
    made_from: str


@dataclass(frozen=True, kw_only=True)
class Painted:
    """The trained painter, and of held-out people what is lost hearing nobody (`before`) and hearing them (`after`),
    and how often their own string is the nearest to their `ê_sem`."""

    painter: Painter
    before: Mapping[Split, Figures]
    after: Mapping[Split, Figures]
    retrieval: Mapping[Split, dict[str, Any] | None]


def painted_for(held: Held, *, deadline: Deadline, say: Callable[[str], None]) -> Painted | None:
    """Trains user encoder and adapter, if that is not done, and measures them on held-out people; None in all of
    several processes but the first.

    Raises:
        Unfinished: the time was up; call again to go on.
    """
    parts, p = held.parts, held.p
    pipe = parts.pipeline()
    texts = texts_of(states.people for states in held.states.values())
    book = first_then_all(lambda: prompt_book(pipe, parts, texts, held.work, deadline))
    d_text = max(pooled_widths(pipe).values())
    aligned: dict[Split, Aligned] = {
        split: _aligned(pipe, held.states[split], held.strings[split], d_text) for split in SPLITS
    }
    for part in ("text_encoder", "text_encoder_2", "text_encoder_3", "safety_checker"):
        if getattr(pipe, part, None) is not None:
            setattr(pipe, part, None)
    freed()
    painter = _fresh(held, pipe, d_text, shard=parts.shard)
    copy = painter.copy() if parts.shard and ranks.is_first() else painter
    best = held.work / f"{STAGE}.best.safetensors"
    if is_done(held.work, held.made_from):
        take(best, painter)
        measured = over_all_ranks(painter, lambda *_: {}, _cut(painter, parts))[1] if parts.shard else by_itself
    else:
        samples = None if parts.shard else Samples.of(
            pipe, painter, held.states["validation"], book, p, n_people=parts.preset.shown_people,
            backbone=parts.preset.backbone, side_px=parts.side_px(pipe), work=held.work,
        )  # fmt: skip
        measured = train_painting(
            painter, parts.preset, p, {**held.states}, book, {**aligned},
            work=held.work, made_from=held.made_from, deadline=deadline, say=say,
            show=None if samples is None else samples.paint, cut=_cut(painter, parts),
        )  # fmt: skip
    if not ranks.is_first() and not parts.shard:
        return None
    painted = measured(lambda: _measured(held, painter, book, aligned))
    if not ranks.is_first():
        return None
    if parts.shard:
        take(best, copy)
    return replace(painted, painter=copy)


def _cut(painter: Painter, parts: Parts) -> Cut | None:
    """Network, user encoder and adapter, cut over the processes if that is wanted."""
    if not parts.shard:
        return None
    network = painter.frozen[0]
    layers = [*layers_of(network), *painter.adapter.branches()]
    return Cut(layers=layers, beside=[network], device=parts.device)


def _measured(held: Held, painter: Painter, book: PromptBook, aligned: Mapping[Split, Aligned]) -> Painted:
    p = held.p
    tables: list[dict[Split, Figures]] = []
    out: tuple[Split, ...] = ("validation", "test")
    with painter.adapter.injected(painter.frozen[0]), painter.adapter.users(None):
        for heard in (False, True):
            lost: dict[Split, np.ndarray] = {
                split: flow_of_people(painter, held.states[split], book, p, heard=heard) for split in out
            }
            told: dict[Split, Figures] = {split: _told(one) for split, one in lost.items()}
            tables.append(told)
    found: dict[Split, dict[str, Any] | None] = {split: retrieved(painter.encoder, aligned[split]) for split in out}
    return Painted(painter=painter, before=tables[0], after=tables[1], retrieval=found)


def _told(lost: np.ndarray) -> Figures:
    return {"flow_loss": lost} if len(lost) else {}


def _fresh(held: Held, pipe: Any, d_text: int, *, shard: bool = False) -> Painter:
    """An untrained painter, whose adapter begins at the text's keys and values. A network that will be cut stays in
    main memory until then."""
    states, device = held.states["train"], held.parts.device
    network = network_of(pipe).requires_grad_(False).eval()
    torch.manual_seed(held.p.seed)
    adapter = UserAdapter.for_network(network, init="copy").float().to(device)
    if held.parts.preset.load_4bit:  # only now: the adapter copies keys and values as they were
        quantise(network, device)
    if not shard:
        network.to(device)
    place = int(states.people.paintable[0])
    one = states.side(place, 0, case_of(states.people, place, 0), 0)
    config = UserEncoderConfig(
        d_lm=one.last.shape[-1],
        d_clip=one.images.shape[-1],
        d_text=d_text,
        d_cross=adapter.d_cross,
        n_tokens=held.parts.preset.user_tokens,
        sem_layers=held.layers.e_sem,
        core_layers=held.layers.e_core,
        one_reading=True,
    )
    return Painter(network, pipe.scheduler, UserEncoder(config).to(device), adapter)


def _aligned(pipe: Any, states: States, strings: Strings, d_text: int) -> Aligned:
    """Text embeddings of the strings of those who can be painted for."""
    told = [strings.get(states.people.person(int(k)).user_id, ("", "")) for k in states.people.paintable]
    found: dict[str, list[Tensor | None]] = {}
    for number, side in enumerate(SIDES):
        texts = [one[number] for one in told]
        rows = iter(pooled(pipe, [text for text in texts if text], d_text))
        found[side] = [next(rows) if text else None for text in texts]
    return Aligned(states=states, strings=found)
