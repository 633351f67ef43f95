"""One port for every preference model: histories in; hidden states, probabilities and words out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from prefgen.core import ConfigError, History, ModelError
from prefgen.mllm.budget import check_fits, set_picture_budget
from prefgen.mllm.capture import captured_layers, language_model
from prefgen.mllm.chat import answer_tokens, chat_frame, pictures_in
from prefgen.mllm.families import family_of, image_token_of, why_not_packed
from prefgen.mllm.loading import beside, load_pair
from prefgen.mllm.lora import load_lora
from prefgen.mllm.packing import Branch, Pack, PackedBatch, one_question_each, pack
from prefgen.mllm.reading import grid_positions, run_packed
from prefgen.mllm.states import SIDES, HistoryStates, SideStates, side_weights
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

_LOG = logging.getLogger(__name__)
MAX_BRANCHES, MAX_ROWS = 64, 4
"""Questions read at once about one history: in one row, or in a row each."""
WORDS_FROM = 4
"""Pictures a side that are shown where the model itself is to find words."""
Reading = Literal["packed", "plain"]


class PreferenceMLLM:
    """A vision-language model that reads a person's liked and disliked pictures.

    Model and processor are a pair of transformers' `AutoModelForImageTextToText` and `AutoProcessor` of one of the
    families of `prefgen.mllm.families`; nothing here depends on their size. `reading` is "packed" where many questions
    share one row, and "plain", a row each, where a model's attention does not let them (`reading_reason` says why).
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
        context_tokens: int | None = None,
        reading: Reading | None = None,
    ) -> None:
        self.model, self.processor = model.eval(), processor
        self.family = family_of(model.config)
        self.temperature, self.word_temperature = temperature, word_temperature or temperature
        self.words = tuple(words)
        self.frame = chat_frame(processor, self.family.placeholder)
        self.yes_no = answer_tokens(processor, self.frame, ("Yes", "No"))
        self.image_token = image_token_of(model.config)
        self.vision = VisionCache(model, processor, cache_size, self.frame.image)
        self.context_tokens = context_tokens or int(model.config.get_text_config().max_position_embeddings)
        self.reading_reason = why_not_packed(model.config)
        self.reading: Reading = self._reading(reading)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        max_side_px: int | None = None,
        image_tokens: int | None = None,
        split_images: bool = False,
        context_tokens: int | None = None,
        attention: str | None = None,
        four_bit: bool = False,
        gradient_checkpointing: bool = False,
        lora: str | Path | None = None,
        **kwargs: Any,
    ) -> PreferenceMLLM:
        """Loads a folder (or a hub name); `calibration.json` and `words.json` are read where they lie beside it.

        Args:
            max_side_px: pictures are read no larger; `image_tokens`: nor take more tokens; `split_images`: Idefics and
                SmolVLM also look at a picture's parts. See `set_picture_budget`.
            context_tokens: longest prompt that is read, by default what the model's config says.
            attention: "sdpa" (what transformers takes by itself), "eager" or "flash_attention_2".
            four_bit: quantise weights to four bits with bitsandbytes, as QLoRA does.
            gradient_checkpointing: in training, recompute layers instead of keeping their activations.
            lora: a folder of LoRA weights in PEFT's format.

        Raises:
            ModelError: nothing that can be loaded lies there, or an extra is not installed.
            ConfigError: a picture budget that the family cannot keep.
        """
        model, processor, family = load_pair(
            name, device=device, dtype=dtype, attention=attention, four_bit=four_bit, **kwargs
        )
        set_picture_budget(
            processor, family, max_side_px=max_side_px, image_tokens=image_tokens, split_images=split_images
        )
        if gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if lora is not None:
            model = load_lora(model, lora).get_base_model()
        return cls(model, processor, context_tokens=context_tokens, **beside(Path(name)))

    def _reading(self, wanted: Reading | None) -> Reading:
        if wanted not in (None, "packed", "plain") or (wanted == "packed" and self.reading_reason):
            raise ConfigError(f"expected reading 'packed' or 'plain', got {wanted!r}", hint=self.reading_reason or None)
        if not self.reading_reason:
            return wanted or "packed"
        _LOG.warning("questions are read one row each, which is slower: %s", self.reading_reason)
        return "plain"

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
        batch, features = self.batch(packs)
        rows, ends = (index.view(len(histories), 2) for index in batch.question_ends())
        weights = side_weights(batch, rows[:, 0].tolist(), histories, self.image_token)

        def pool(state: Tensor) -> Tensor:
            own = state if len(state) == len(histories) else state[rows[:, 0]]
            return torch.cat([state[rows, ends].float(), weights @ own.float()], 1)

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
        first, second = answer_tokens(self.processor, self.frame, ("First", "Second"))
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
        The words are those of the model folder's `words.json`; where it has none, those that the model itself finds in
        this person's pictures.
        """
        names = [word for word, _ in self.words] or self._words_found(history)
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

    def query_states(
        self, history: History, images: Sequence[Image.Image], states: Sequence[int] | None = None
    ) -> Tensor:
        """Hidden states where "does the user like this image?" ends, for each image: [n_images, n_states, d].

        What intra-user probes read: the last token before the answer, the history told once.
        """
        return self.asked_states(told_from(history), images, states)

    @torch.no_grad()
    def asked_states(
        self, history: Sequence[Told], pictures: Sequence[Any], states: Sequence[int] | None = None
    ) -> Tensor:
        """`query_states` for a history as told; a picture may be a tensor of tokens made before."""
        wanted = list(range(self.n_states)) if states is None else list(states)
        told, found = history_parts(history), []
        for branches in self._portions([like_question(picture) for picture in pictures], len(pictures)):
            batch, features = self.batch([Pack(history=told, branches=branches)])
            rows, ends = batch.question_ends()
            with captured_layers(self.model, wanted, lambda s, at=(rows, ends): s[at].float()) as taken:
                run_packed(self.model, batch, features)
            found.append(torch.stack([taken[k] for k in wanted], 1))
        return torch.cat(found) if found else torch.zeros(0, len(wanted), self.width)

    def batch(self, packs: Sequence[Pack]) -> tuple[PackedBatch, Tensor]:
        """The batch that the model reads, on its device, and its pictures' tokens [n, d]; a picture may be a tensor of
        tokens seen before."""
        plain = self.reading == "plain"
        packs = one_question_each(packs) if plain else list(packs)
        pictures = [p for one in packs for parts in (one.history, *(b.question for b in one.branches)) for p in parts]
        seen = self.vision.seen(pictures_in(pictures))
        texts = [picture.text for picture in seen if picture.text is not None]
        written = None if self.family.wording == "processor" else texts
        batch = pack(self.processor, self.frame, packs, seen=written, plain=plain).to(self.model.device)
        check_fits(batch.n_longest, self.context_tokens)
        if self.family.positions == "grid":
            grids = [picture.grid for picture in seen if picture.grid is not None]
            batch = replace(batch, position_ids=grid_positions(self.model, batch, grids).to(self.model.device))
        levels = [torch.cat(level) for level in zip(*(picture.deeper for picture in seen))]
        batch = replace(batch, n_tokens=[len(picture.tokens) for picture in seen], deeper=tuple(levels))
        tokens = [picture.tokens for picture in seen]
        return batch, torch.cat(tokens).to(self.model.dtype) if tokens else torch.zeros(0, self.width)

    def _words_found(self, history: History) -> list[str]:
        """Words for what is liked and disliked, written by the model; none where it finds none."""
        from prefgen.mllm.taste_words import taste_words

        liked, disliked = ([item.image for item in side] for side in (history.liked, history.disliked))
        try:
            words = taste_words(self.model, self.processor, liked, disliked, max_pictures=WORDS_FROM)
        except ModelError:
            return []
        return [*words.liked, *words.disliked]

    def _yes_margins(self, told: Parts, questions: list[Parts]) -> Tensor:
        logits = self._branch_logits(told, questions)
        return logits[:, self.yes_no[0]] - logits[:, self.yes_no[1]]

    @torch.no_grad()
    def _branch_logits(self, told: Parts, questions: list[Parts]) -> Tensor:
        """Logits [n_questions, vocabulary] of each answer's first token."""
        found = []
        for branches in self._portions(questions):
            batch, features = self.batch([Pack(history=told, branches=branches)])
            hidden = run_packed(self.model, batch, features)
            found.append(self.model.lm_head(hidden[batch.question_ends()]).float().cpu())
        return torch.cat(found) if found else torch.zeros(0, self.model.config.get_text_config().vocab_size)

    def _portions(self, questions: list[Parts], n_packed: int = MAX_BRANCHES) -> list[tuple[Branch, ...]]:
        """As many questions as are read at once, portion by portion."""
        most = n_packed if self.reading == "packed" else MAX_ROWS
        asked = [Branch(question=question) for question in questions]
        return [tuple(asked[start : start + most]) for start in range(0, len(asked), most)]
