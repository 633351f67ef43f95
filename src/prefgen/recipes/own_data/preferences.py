"""The language model learns on from people's own opinions, and is calibrated on people it did not learn from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prefgen.core import ModelError
from prefgen.embedding import TasteEvidence
from prefgen.mllm import answer_token, chat_frame, merged, pack, run_packed, with_lora
from prefgen.pipeline.loading import load_evidence
from prefgen.recipes import ranks
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Loop, LoopSettings, first_then_all
from prefgen.recipes.mllm_people import N_PICTURES, people_pictures
from prefgen.recipes.mllm_pretrain import save_mllm
from prefgen.recipes.own_data.best import Best
from prefgen.recipes.own_data.conversations import QUESTIONS_A_HISTORY, Conversations, Examined, examined_people
from prefgen.recipes.own_data.features import People
from prefgen.recipes.own_data.judging import (
    Weighing,
    heard_of,
    losses_of,
    reweighed,
    said_margins,
    weighing_of,
)
from prefgen.recipes.own_data.settings import OwnDataPreset
from prefgen.recipes.preference_vqa import load_pretrained, people_features, spoken_losses

STAGE = "own-preferences"


class TaughtMLLM(nn.Module):
    """The language model in training: all of it, or a LoRA; its eyes stay frozen."""

    def __init__(self, model: Any, *, lora_rank: int = 0) -> None:
        super().__init__()
        model.requires_grad_(False)
        self.model = with_lora(model, rank=lora_rank) if lora_rank else model
        if not lora_rank:
            model.model.text_model.requires_grad_(True)
            model.lm_head.requires_grad_(True)

    @property
    def plain(self) -> Any:
        """The transformers model (with LoRA layers inside, if any)."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def whole(self) -> Any:
        """The model to be saved."""
        return merged(self.model) if hasattr(self.model, "get_base_model") else self.model


def train_preferences(c: Context, p: OwnDataPreset, start: Path, people: dict[str, People], made_from: str) -> None:
    """Fine-tunes `start`'s language model and saves it to `out/mllm`; what is kept of it is chosen on validation
    people. Then temperature and weights of evidence are set by the same people, anew whenever it is asked."""
    done = c.work / f"{STAGE}.done.json"
    if not p.preference_samples or (done.exists() and json.loads(done.read_text()) == made_from):
        return
    model, processor = load_pretrained(start / "mllm")
    frame = chat_frame(processor)
    answers = answer_token(processor, frame, "Yes"), answer_token(processor, frame, "No")
    conversations = first_then_all(lambda: conversations_of(c, p, model, people["train"]))
    torch.manual_seed(p.seed)
    module = TaughtMLLM(model, lora_rank=p.lora_rank)
    exams = examined_people(people["validation"], p.evaluated_people)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        asked, simulated = (ranks.own(rows) for rows in conversations.at(step, p.preference_batch))
        batch = pack(processor, frame, [one.pack for one in asked])
        rows = conversations.features(batch.pictures, batch.owners, simulated)
        hidden = run_packed(module.plain, batch, rows)
        losses, _ = spoken_losses(module.plain, hidden, batch, asked, answers)
        whole = losses["answers"] + losses["yes_no"] + p.preference_contrast * losses["contrast"]
        return {"loss": whole, **losses}

    def lost(_: nn.Module) -> float:
        said = said_margins(module.plain, processor, people["validation"], [one.pack() for one in exams])
        return float(losses_of(said, [np.arange(len(one)) % 2 == 0 for one in said]).mean())

    best = Best(c.work / f"{STAGE}.best.safetensors", module, lost, c.say, made_from)
    loop = Loop(STAGE, c.work, module, loss, preference_settings(p), show_fn=best.look, made_from=made_from)
    best.of(loop, c.deadline)
    if ranks.is_first():
        calibration = json.loads((start / "mllm" / "calibration.json").read_text()) if _calibrated(start) else {}
        save_mllm(module.whole(), processor, c.out / "mllm", torch.float16)
        words_t = calibration.get("word_temperature", calibration.get("temperature", 1.0))
        save_json(c.out / "mllm" / "calibration.json", {"word_temperature": words_t, **calibration})
        save_json(done, made_from)
    ranks.wait()


def _calibrated(folder: Path) -> bool:
    return (folder / "mllm" / "calibration.json").is_file()


def preference_settings(p: OwnDataPreset) -> LoopSettings:
    """The loop over conversations."""
    return LoopSettings(
        n_samples=p.preference_samples,
        batch_size=p.preference_batch * QUESTIONS_A_HISTORY,
        learning_rate=p.preference_rate,
        warmup_samples=p.preference_samples // 10,
        ema_decay=0.998,
        seed=p.seed,
        show_every=p.choose_every,
    )


def conversations_of(c: Context, p: OwnDataPreset, model: Any, people: People) -> Conversations:
    """The conversations of a training, simulated people painted and seen on first use."""
    n = p.simulated_people if p.simulated_share else 0
    painted = np.zeros((0, 1, 1), dtype=np.float16)
    if n:
        path = c.work / "people" / "train.features.npy"
        painted = people_features(model, people_pictures(c.work, "train", n), path)
        assert len(painted) == n * N_PICTURES
    return Conversations(
        people=people,
        painted=painted,
        n_simulated=n,
        simulated_share=p.simulated_share,
        most_pictures=p.most_pictures,
        seed=p.seed,
    )


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The half of a model folder that tells what people like."""

    model: Any
    processor: Any
    evidence: TasteEvidence | None
    weighing: Weighing

    @classmethod
    def of(cls, folder: Path) -> Judge:
        """Read from a model folder."""
        model, processor = load_pretrained(folder / "mllm")
        evidence = load_evidence(folder, torch.device("cpu"))
        return cls(model=model, processor=processor, evidence=evidence, weighing=weighing_of(folder, evidence))

    def heard(self, people: People, exams: list[Examined]) -> Any:
        """What it says of everybody's questions."""
        return heard_of(self.model, self.processor, self.evidence, people, exams)


def calibrate(start: Path, out: Path, people: People, p: OwnDataPreset) -> Weighing:
    """Sets `out`'s temperature and weights of evidence by validation people, from `start`'s on, and says which. Where
    nobody can be asked (likes alone), they stay the start's."""
    judge = Judge.of(out)
    before = weighing_of(start, load_evidence(start, torch.device("cpu")))
    exams = examined_people(people, p.evaluated_people)
    weighing = reweighed(judge.heard(people, exams), before) if exams else before
    path = out / "mllm" / "calibration.json"
    said = json.loads(path.read_text()) if path.is_file() else {}
    said.setdefault("word_temperature", said.get("temperature", 1.0))
    save_json(path, {**said, "temperature": weighing.temperature})
    if judge.evidence is not None:
        config = replace(judge.evidence.config, scale=weighing.scale, said_share=weighing.said_share)
        weighed = TasteEvidence(config)
        weighed.load_state_dict(judge.evidence.state_dict())
        weighed.save(out / "evidence", torch.float32)
    return weighing


def check_kind(start: Path) -> None:
    """Raises `ModelError` unless the folder holds a model of the embedded kind."""
    try:
        index = json.loads((start / "model_index.json").read_text())
        scheduler = json.loads((start / "scheduler" / "scheduler_config.json").read_text())
        reads = json.loads((start / "mllm" / "config.json").read_text()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"expected a finished model in {start}, got {error}") from error
    got = f"{index.get('_class_name')}, {scheduler.get('prediction_type')}, {reads}"
    if got != "StableDiffusionPipeline, flow_prediction, idefics2":
        raise ModelError(
            f"expected a model of the embedded kind to start from, got {got}",
            hint="--start embedded, or a model trained from it; other backbones: docs/backbones.md",
        )
