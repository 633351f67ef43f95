"""One port for every preference model: histories in; hidden states, probabilities and words out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from prefgen.core import History, ModelError, Side
from prefgen.mllm.capture import captured_layers, language_model
from prefgen.mllm.chat import answer_token, chat_frame, pictures_in
from prefgen.mllm.packing import Branch, Pack, PackedBatch, pack, run_packed
from prefgen.mllm.vision import VisionCache
from prefgen.mllm.wording import (
    DISLIKES_QUESTION,
    LIKES_QUESTION,
    Parts,
    Told,
    choice_question,
    history_parts,
    like_question,
    told_from,
    word_question,
)

SIDES: tuple[Side, Side] = ("like", "dislike")
MAX_BRANCHES = 64
"""Questions read at once about one history."""


@dataclass(frozen=True, kw_only=True)
class SideStates:
    """Hidden states of one side: `last` at the last token of its question, `mean` over its picture tokens by weight.

    Float [n_states, d] for one history, [batch, n_states, d] for several; n_states follows the states asked for (by
    default the embeddings and every layer's output). `mean` is zero where the side holds no picture.
    """

    last: Tensor
    mean: Tensor


@dataclass(frozen=True, kw_only=True)
class HistoryStates:
    """Hidden states of both sides."""

    like: SideStates
    dislike: SideStates


class PreferenceMLLM:
    """A vision-language model that reads a person's liked and disliked pictures.

    Model and processor are any pair of transformers' `AutoModelForImageTextToText` and `AutoProcessor` whose image
    tokens stand in the text in picture order; nothing here depends on their size.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        temperature: float = 1.0,
        word_temperature: float | None = None,
        words: Sequence[tuple[str, str]] = (),
        cache_size: int = 1024,
    ) -> None:
        self.model, self.processor = model.eval(), processor
        self.temperature, self.word_temperature = temperature, word_temperature or temperature
        self.words = tuple(words)
        self.frame = chat_frame(processor)
        self.yes_no = tuple(answer_token(processor, self.frame, word) for word in ("Yes", "No"))
        if self.yes_no[0] == self.yes_no[1]:
            raise ModelError("expected Yes and No to be different tokens, got the same")
        self.image_token = getattr(model.config, "image_token_id", None) or model.config.image_token_index
        self.vision = VisionCache(model, processor, cache_size)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, **kwargs: Any
    ) -> PreferenceMLLM:
        """Loads a folder (or a hub name); `calibration.json` and `words.json` are read where they lie beside it.

        Raises:
            ModelError: nothing that can be loaded lies there.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        try:
            model: Any = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, **kwargs)
            model = model.to(device)
            processor = AutoProcessor.from_pretrained(name, **kwargs)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"expected a vision-language model in {name}, got {type(error).__name__}: {error}"
            ) from error
        return cls(model, processor, **_beside(Path(name)))

    @property
    def n_states(self) -> int:
        """Hidden states per token: the embeddings and every layer's output."""
        return len(language_model(self.model).layers) + 1

    @property
    def width(self) -> int:
        """Width of a hidden state."""
        return int(self.model.config.get_text_config().hidden_size)

    def encode(
        self,
        history: History,
        states: Sequence[int] | None = None,
        *,
        notes_like: Sequence[str] = (),
        notes_dislike: Sequence[str] = (),
    ) -> HistoryStates:
        """Hidden states of both sides' questions; floats [n_states, d]. The history is not changed.

        Notes, here and below, are words the person adds to the pictures.
        """
        batch = self.encode_told([told_from(history)], states, notes=[(notes_like, notes_dislike)])
        return HistoryStates(
            **{s: SideStates(last=getattr(batch, s).last[0], mean=getattr(batch, s).mean[0]) for s in SIDES}
        )

    def encode_batch(self, histories: Sequence[History], states: Sequence[int] | None = None) -> HistoryStates:
        """`encode` for several histories at once; floats [batch, n_states, d], each row as if it came alone."""
        return self.encode_told([told_from(history) for history in histories], states)

    @torch.no_grad()
    def encode_told(
        self,
        histories: Sequence[Sequence[Told]],
        states: Sequence[int] | None = None,
        *,
        notes: Sequence[tuple[Sequence[str], Sequence[str]]] | None = None,
    ) -> HistoryStates:
        """`encode_batch` for histories as told; a `Told.picture` may be a tensor of tokens made before.

        `notes` are (liked words, disliked words) per history.
        """
        wanted = list(range(self.n_states)) if states is None else list(states)
        branches = (Branch(question=[LIKES_QUESTION]), Branch(question=[DISLIKES_QUESTION]))
        packs = [
            Pack(history=history_parts(items, notes_like=likes, notes_dislike=dislikes), branches=branches)
            for items, (likes, dislikes) in zip(histories, notes or [((), ())] * len(histories))
        ]
        batch, features = self._batch(packs)
        weights = self._side_weights(batch, features, histories)
        rows = torch.arange(len(histories))[:, None]
        ends = torch.tensor([[batch.ends[r, k] for k in (0, 1)] for r in range(len(histories))])

        def pool(state: Tensor) -> Tensor:
            return torch.cat([state[rows, ends].float(), weights @ state.float()], 1)

        with captured_layers(self.model, wanted, pool) as taken:
            run_packed(self.model, batch, features)
        pooled = torch.stack([taken[k] for k in wanted], 2)  # [batch, 4, n_states, d]
        return HistoryStates(
            like=SideStates(last=pooled[:, 0], mean=pooled[:, 2]),
            dislike=SideStates(last=pooled[:, 1], mean=pooled[:, 3]),
        )

    def score(
        self,
        history: History,
        images: Sequence[Image.Image],
        *,
        notes_like: Sequence[str] = (),
        notes_dislike: Sequence[str] = (),
    ) -> list[float]:
        """Calibrated P(this person likes the image), image by image."""
        told = history_parts(told_from(history), notes_like=notes_like, notes_dislike=notes_dislike)
        margins = self._yes_margins(told, [like_question(image) for image in images])
        return torch.sigmoid(margins / self.temperature).tolist()

    @torch.no_grad()
    def choose(self, history: History, image_a: Image.Image, image_b: Image.Image) -> float:
        """P(this person likes `image_a` better than `image_b`), both orders averaged."""
        first, second = (answer_token(self.processor, self.frame, word) for word in ("First", "Second"))
        told = history_parts(told_from(history))
        logits = self._branch_logits(told, [choice_question(image_a, image_b), choice_question(image_b, image_a)])
        a, b = (logits[:, first] - logits[:, second]).tolist()
        return float((torch.sigmoid(torch.tensor([a, -b]))).mean())

    def explain(
        self,
        history: History,
        *,
        threshold: float = 0.5,
        least_weight: float = 0.1,
        notes_like: Sequence[str] = (),
        notes_dislike: Sequence[str] = (),
    ) -> dict[str, list[tuple[str, float, float]]]:
        """What this person likes and dislikes, in words: `{"likes": [(word, weight, confidence), …], "dislikes": …}`.

        Confidence is P(the opinion holds); weight is that less P(the opposite opinion holds). Strongest first; only
        words above `threshold` confidence and of `least_weight`: below it the model hardly tells the two sides apart.
        The words are those of the model folder's `words.json`.
        """
        names = [word for word, _ in self.words]
        told = history_parts(told_from(history), notes_like=notes_like, notes_dislike=notes_dislike)
        p: dict[str, list[float]] = {}
        for side in SIDES:
            margins = self._yes_margins(told, [word_question(word, side) for word in names])
            p[side] = torch.sigmoid(margins / self.word_temperature).tolist()
        found: dict[str, list[tuple[str, float, float]]] = {}
        for side, other in (("like", "dislike"), ("dislike", "like")):
            held = [
                (w, a - b, a) for w, a, b in zip(names, p[side], p[other]) if a >= threshold and a - b >= least_weight
            ]
            found[f"{side}s"] = sorted(held, key=lambda entry: -entry[1])
        return found

    @torch.no_grad()
    def query_states(
        self, history: History, images: Sequence[Image.Image], states: Sequence[int] | None = None
    ) -> Tensor:
        """Hidden states where "does the user like this image?" ends, for each image: [n_images, n_states, d].

        What intra-user probes read: the last token before the answer, the history told once.
        """
        wanted = list(range(self.n_states)) if states is None else list(states)
        branches = tuple(Branch(question=like_question(image)) for image in images)
        batch, features = self._batch([Pack(history=history_parts(told_from(history)), branches=branches)])
        ends = [batch.ends[0, k] for k in range(len(branches))]
        with captured_layers(self.model, wanted, lambda state: state[0, ends].float()) as taken:
            run_packed(self.model, batch, features)
        return torch.stack([taken[k] for k in wanted], 1)

    def _yes_margins(self, told: Parts, questions: list[Parts]) -> Tensor:
        logits = self._branch_logits(told, questions)
        return logits[:, self.yes_no[0]] - logits[:, self.yes_no[1]]

    @torch.no_grad()
    def _branch_logits(self, told: Parts, questions: list[Parts]) -> Tensor:
        """Logits [n_questions, vocabulary] of each answer's first token."""
        rows = []
        for start in range(0, len(questions), MAX_BRANCHES):
            branches = tuple(Branch(question=question) for question in questions[start : start + MAX_BRANCHES])
            batch, features = self._batch([Pack(history=told, branches=branches)])
            hidden = run_packed(self.model, batch, features)
            rows.append(self.model.lm_head(hidden[0, [batch.ends[0, k] for k in range(len(branches))]]).float().cpu())
        return torch.cat(rows) if rows else torch.zeros(0, self.model.config.get_text_config().vocab_size)

    def _batch(self, packs: list[Pack]) -> tuple[PackedBatch, Tensor]:
        batch = pack(self.processor, self.frame, packs).to(self.model.device)
        tokens = self.vision.tokens(batch.pictures)
        features = torch.cat(tokens).to(self.model.dtype) if tokens else torch.zeros(0, self.width)
        return batch, features

    def _side_weights(self, batch: PackedBatch, features: Tensor, histories: Sequence[Sequence[Told]]) -> Tensor:
        """[batch, 2, s]: what each token counts in the mean of the likes and of the dislikes."""
        places = batch.input_ids == self.image_token
        n_pictures = max(len(batch.pictures), 1)
        per_picture = len(features) // n_pictures
        weights = torch.zeros(len(histories), 2, batch.input_ids.shape[1], device=places.device)
        for r, items in enumerate(histories):
            at = places[r].nonzero()[:, 0]
            ordered = [item for side in SIDES for item in items if item.side == side]
            for i, item in enumerate(ordered):
                weights[r, SIDES.index(item.side), at[i * per_picture : (i + 1) * per_picture]] = item.weight
        return weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)


def plain_logits(mllm: PreferenceMLLM, histories: Sequence[History], questions: Sequence[Parts]) -> Tensor:
    """The reference path of every family: one padded row per question, pixels in, logits [n, vocabulary] out.

    Slower than the packed reading (nothing is shared or cached), and its measure: both must agree.
    """
    parts = [[*history_parts(told_from(h)), *question] for h, question in zip(histories, questions)]
    images = [[image.convert("RGB") for image in pictures_in(p)] for p in parts]
    texts = [mllm.frame.prompt(p) for p in parts]
    inputs = mllm.processor(text=texts, images=images, padding=True, return_tensors="pt").to(mllm.model.device)
    with torch.no_grad():
        return mllm.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1].float().cpu()


def _beside(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if (folder / "calibration.json").is_file():
        raw = json.loads((folder / "calibration.json").read_text())
        found |= {k: float(v) for k, v in raw.items() if k in ("temperature", "word_temperature")}
    if (folder / "words.json").is_file():
        found["words"] = [(entry["word"], entry["family"]) for entry in json.loads((folder / "words.json").read_text())]
    return found
