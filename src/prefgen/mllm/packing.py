"""Many questions about one history in one row: the history is read once, each question sees it and itself only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from prefgen.mllm.chat import ChatFrame, pictures_in
from prefgen.mllm.wording import Parts


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One question about the row's history, with its answer when it is to be learned."""

    question: Parts
    answer: str | None = None
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """One history and the questions asked of it."""

    history: Parts
    branches: tuple[Branch, ...]


@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """Rows padded on the right. `s` is the longest row.

    `input_ids`, `position_ids` int64 [b, s]; `attention` bool [b, 1, s, s]; `targets` int64 [b, s], -100 but where the
    next token belongs to an answer; `ends` maps (row, branch) to the place of the question's last token, whose logits
    begin the answer; `pictures` are the rows' pictures in order.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention: Tensor
    targets: Tensor
    ends: dict[tuple[int, int], int] = field(default_factory=dict)
    pictures: list[Any] = field(default_factory=list)

    def to(self, device: Any) -> PackedBatch:
        """The batch with its tensors on another device."""
        names = ("input_ids", "position_ids", "attention", "targets")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


@dataclass(kw_only=True)
class _Row:
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def add(self, ids: list[int], segment: int, start: int) -> None:
        self.ids += ids
        self.positions += range(start, start + len(ids))
        self.segments += [segment] * len(ids)
        self.targets += [-100] * len(ids)


def _tokens(processor: Any, texts: list[str]) -> list[list[int]]:
    return processor(text=texts, add_special_tokens=False)["input_ids"] if texts else []


def pack(processor: Any, frame: ChatFrame, packs: Sequence[Pack]) -> PackedBatch:
    """Tokenises packs into one batch."""
    texts: list[str] = []
    for one in packs:
        texts.append(frame.opening + frame.body(one.history))
        texts += [frame.body(branch.question) + frame.closing for branch in one.branches]
    questions = iter(_tokens(processor, texts))
    answered = [f" {branch.answer}" for one in packs for branch in one.branches if branch.answer is not None]
    answers = iter(processor.tokenizer(answered, add_special_tokens=False)["input_ids"] if answered else [])
    stop = processor.tokenizer.eos_token_id
    rows: list[_Row] = []
    ends: dict[tuple[int, int], int] = {}
    pictures: list[Any] = []
    for r, one in enumerate(packs):
        row = _Row()
        row.add(next(questions), 0, 0)
        pictures += pictures_in(one.history)
        n_history = len(row.ids)
        for k, branch in enumerate(one.branches):
            pictures += pictures_in(branch.question)
            row.add(next(questions), k + 1, n_history)
            ends[r, k] = len(row.ids) - 1
            if branch.answer is not None:
                answer = [*next(answers), stop]
                row.add(answer[:-1], k + 1, row.positions[-1] + 1)
                row.targets[ends[r, k] : ends[r, k] + len(answer)] = answer
        rows.append(row)
    return _padded(rows, ends, pictures, processor.tokenizer.pad_token_id)


def _padded(rows: list[_Row], ends: dict[tuple[int, int], int], pictures: list[Any], pad: int) -> PackedBatch:
    length = max(len(row.ids) for row in rows)

    def fill(values: list[list[int]], value: int) -> Tensor:
        return torch.tensor([v + [value] * (length - len(v)) for v in values])

    segments = fill([row.segments for row in rows], -1)
    own = segments[:, :, None] == segments[:, None, :]
    history = (segments == 0)[:, None, :]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    return PackedBatch(
        input_ids=fill([row.ids for row in rows], pad),
        position_ids=fill([row.positions for row in rows], 0),
        attention=(earlier & (own | history))[:, None],
        targets=fill([row.targets for row in rows], -100),
        ends=ends,
        pictures=pictures,
    )


def run_packed(model: Any, batch: PackedBatch, features: Tensor) -> Tensor:
    """Last hidden states [b, s, d] of a packed batch.

    `features` [n_pictures, n_tokens, d], or flat [n_pictures · n_tokens, d], as its pictures stand.
    """
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    flat = features.flatten(0, -2)
    images = BaseModelOutputWithPooling(last_hidden_state=flat, pooler_output=flat)  # type: ignore[arg-type]
    return model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention,
        position_ids=batch.position_ids,
        mm_encoder_outputs={"image": images} if len(flat) else None,
        use_cache=False,
    ).last_hidden_state


@torch.no_grad()
def answer_log_likelihoods(model: Any, batch: PackedBatch, features: Tensor) -> list[float]:
    """log P(answer) of every branch, row by row. All branches must carry an answer."""
    hidden = run_packed(model, batch, features)
    learned = (batch.targets >= 0).nonzero()
    logits = model.lm_head(hidden[learned[:, 0], learned[:, 1]]).float()
    chosen = logits.log_softmax(-1).gather(1, batch.targets[learned[:, 0], learned[:, 1]][:, None])[:, 0]
    order = sorted(batch.ends, key=lambda key: (key[0], batch.ends[key]))
    starts = torch.tensor([r * batch.targets.shape[1] + batch.ends[r, k] for r, k in order])
    places = learned[:, 0] * batch.targets.shape[1] + learned[:, 1]
    owner = torch.searchsorted(starts, places, right=True) - 1
    return torch.zeros(len(order)).index_add(0, owner, chosen).tolist()
