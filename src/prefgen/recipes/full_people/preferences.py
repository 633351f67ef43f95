"""LoRA on a published language model: it learns to tell what people like, and is calibrated on people it never met."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prefgen.core import ModelError
from prefgen.mllm import Pack, PreferenceMLLM, run_packed, save_lora, with_lora
from prefgen.recipes import ranks
from prefgen.recipes.attention import stock_attention
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.full_people.parts import Parts, freed
from prefgen.recipes.loop import Deadline, Loop
from prefgen.recipes.own_data.best import Best
from prefgen.recipes.own_data.conversations import Conversations, Examined, examined_people
from prefgen.recipes.own_data.features import People
from prefgen.recipes.own_data.judging import held_temperature, losses_of
from prefgen.recipes.own_data.preferences import preference_settings
from prefgen.recipes.own_data.settings import OwnDataPreset
from prefgen.recipes.preference_vqa import spoken_losses
from prefgen.recipes.sharding import Cut, layers_of

STAGE = "lora"
SAVE_EVERY_S = 600.0
QUESTIONS_AT_ONCE = 1
"""Examined people in one batch."""


def with_pictures(one: Pack, pictures: Mapping[int, Any]) -> Pack:
    """A pack whose pictures, told by their keys, are their tokens."""

    def shown(parts: Sequence[Any]) -> list[Any]:
        return [pictures[part] if isinstance(part, int) else part for part in parts]

    branches = tuple(replace(branch, question=shown(branch.question)) for branch in one.branches)
    return replace(one, history=shown(one.history), branches=branches)


def keys_in(one: Pack) -> list[int]:
    """The keys of a pack's pictures."""
    parts = [part for parts in (one.history, *(b.question for b in one.branches)) for part in parts]
    return sorted({part for part in parts if isinstance(part, int)})


def seen_packs(people: People, packs: Sequence[Pack]) -> list[Pack]:
    """Packs with the tokens of their pictures."""
    keys = sorted({key for one in packs for key in keys_in(one)})
    pictures = dict(zip(keys, people.pictures(keys)))
    return [with_pictures(one, pictures) for one in packs]


@torch.no_grad()
def margins(mllm: PreferenceMLLM, people: People, packs: Sequence[Pack]) -> list[np.ndarray]:
    """l_yes - l_no of every question, an array a pack."""
    mllm.model.eval()
    yes, no = mllm.yes_no
    found: list[np.ndarray] = []
    for start in range(0, len(packs), QUESTIONS_AT_ONCE):
        some = packs[start : start + QUESTIONS_AT_ONCE]
        batch, tokens = mllm.batch(seen_packs(people, some))
        with stock_attention():
            hidden = run_packed(mllm.model, batch, tokens)
        for row, one in enumerate(some):
            at = [batch.ends[row, k] for k in range(len(one.branches))]
            logits = mllm.model.lm_head(hidden[row, at]).float()
            found.append((logits[:, yes] - logits[:, no]).double().cpu().numpy())
    return found


def train_lora(
    parts: Parts, p: OwnDataPreset, people: dict[str, People], work: Path, made_from: str, deadline: Deadline, say: Any
) -> Path | None:
    """Fine-tunes the language model and returns the folder of its updates, with `calibration.json` beside them; None
    where it is left as it is published.

    Raises:
        ModelError: a language model whose questions cannot share a row.
        Unfinished: the time was up; call again to go on.
    """
    if not p.preference_samples:
        return None
    folder, done = work / STAGE, work / f"{STAGE}.done.json"
    if done.exists() and json.loads(done.read_text()) == made_from:
        return folder
    _train(parts, p, people, work, made_from, deadline, say, folder)
    freed()
    if not ranks.is_first():
        ranks.wait()
        return folder
    with ranks.alone():
        reader = parts.language_model(folder)
        exams = examined_people(people["validation"], p.evaluated_people)
        save_json(folder / "calibration.json", {"temperature": _temperature(reader, people["validation"], exams)})
    save_json(done, made_from)
    ranks.wait()
    return folder


def _train(
    parts: Parts,
    p: OwnDataPreset,
    people: dict[str, People],
    work: Path,
    made_from: str,
    deadline: Deadline,
    say: Any,
    folder: Path,
) -> None:
    """The training itself; writes the updates that lost least on validation people."""
    mllm = parts.language_model(training=True)
    if mllm.reading != "packed":
        raise ModelError("expected a language model that can be asked many questions at once", hint=mllm.reading_reason)
    torch.manual_seed(p.seed)
    tuned: nn.Module = with_lora(mllm.model, rank=p.lora_rank, dropout=parts.preset.lora_dropout)
    conversations = Conversations(
        people=people["train"],
        painted=np.zeros((0, 1, 1), dtype=np.float16),
        n_simulated=0,
        simulated_share=0.0,
        most_pictures=p.most_pictures,
        seed=p.seed,
        most_pairs=parts.preset.asked_pairs,
    )
    exams = examined_people(people["validation"], p.evaluated_people)
    yes, no = mllm.yes_no

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        asked = ranks.own(conversations.at(step, p.preference_batch)[0])
        batch, tokens = mllm.batch(seen_packs(people["train"], [one.pack for one in asked]))
        with stock_attention(), parts.autocast():
            hidden = run_packed(mllm.model, batch, tokens)
        losses, _ = spoken_losses(mllm.model, hidden, batch, asked, (yes, no))
        whole = losses["answers"] + losses["yes_no"] + p.preference_contrast * losses["contrast"]
        return {"loss": whole, **losses}

    def lost(_: nn.Module) -> float:
        said = margins(mllm, people["validation"], [one.pack() for one in exams])
        return float(losses_of(said, _likes(said)).mean())

    best = Best(work / f"{STAGE}.best.safetensors", tuned, lost, say, made_from)
    n_asked = p.preference_batch * questions_in(parts.preset.asked_pairs)
    settings = replace(preference_settings(p), batch_size=n_asked, bf16=False, save_every_s=SAVE_EVERY_S)
    cut = Cut(layers=layers_of(mllm.model), device=parts.device) if parts.shard else None
    loop = Loop(STAGE, work, tuned, loss, settings, show_fn=best.look, made_from=made_from, cut=cut)
    best.of(loop, deadline)
    weights = loop.whole_parameters()
    if ranks.is_first():
        save_lora(tuned, folder, weights)


def questions_in(n_pairs: int) -> int:
    """Questions of a conversation about so many pairs: yes or no on both, and which of the two of the first and of half
    of the others."""
    return 2 * n_pairs + 1 + (n_pairs - 1) // 2


def _likes(said: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The labels: pictures stand pair by pair, the liked first."""
    return [np.arange(len(one)) % 2 == 0 for one in said]


def _temperature(mllm: PreferenceMLLM, people: People, exams: Sequence[Examined]) -> float:
    """By validation people, held to 1 as far as they are few."""
    said = margins(mllm, people, [one.pack() for one in exams])
    return held_temperature(np.concatenate(said), np.concatenate(_likes(said)), 1.0)
