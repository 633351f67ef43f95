"""Many questions about one history in one row: the history is read once, each question sees it and itself only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from prefgen.core import ModelError
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

    `input_ids` int64 [b, s]; `position_ids` int64 [b, s], or [3, b, s] where pictures have a time, height and width;
    `attention` bool [b, 1, s, s], or int64 [b, s] where no row holds two questions (plain reading); `targets` int64
    [b, s], -100 but where the next token belongs to an answer; `segments` int64 [b, s], 0 for the history, k + 1 for
    branch k, -1 for padding; `ends` maps (row, branch) to the place of the question's last token, whose logits begin
    the answer; `pictures` are the rows' pictures in order, `owners` their rows; `n_longest` is the longest prompt in
    tokens. `n_tokens` and `deeper` (tokens of each picture, see `Seen`) are filled in where pictures were looked at.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention: Tensor
    targets: Tensor
    segments: Tensor
    ends: dict[tuple[int, int], int] = field(default_factory=dict)
    pictures: list[Any] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    n_longest: int = 0
    n_tokens: list[int] = field(default_factory=list)
    deeper: tuple[Tensor, ...] = ()

    def to(self, device: Any) -> PackedBatch:
        """The batch with its tensors on another device."""
        names = ("input_ids", "position_ids", "attention", "targets", "segments")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def question_ends(self) -> tuple[Tensor, Tensor]:
        """Rows and places of the questions' last tokens, in the order in which the questions were asked."""
        keys = sorted(self.ends)
        rows, places = [row for row, _ in keys], [self.ends[key] for key in keys]
        device = self.input_ids.device
        return torch.tensor(rows, device=device), torch.tensor(places, device=device)


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


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """Token ids of a history, and of each question with its answer (None where there is none)."""

    history: list[int]
    branches: list[tuple[list[int], list[int] | None]]


def _tokens(processor: Any, texts: list[str], seen: bool) -> list[list[int]]:
    """Token ids; the processor writes the pictures' tokens into the texts unless they stand there (`seen`)."""
    reader = processor.tokenizer if seen else processor
    return reader(text=texts, add_special_tokens=False)["input_ids"] if texts else []


def pack(
    processor: Any, frame: ChatFrame, packs: Sequence[Pack], *, seen: Sequence[str] | None = None, plain: bool = False
) -> PackedBatch:
    """Tokenises packs into one batch.

    `seen` are the texts of all pictures in order, where the processor cannot write them without the pictures. `plain`
    makes rows of at most one question for ordinary causal attention.
    """
    rows: list[_Row] = []
    ends: dict[tuple[int, int], int] = {}
    pictures: list[Any] = []
    owners: list[int] = []
    stop = processor.tokenizer.eos_token_id
    for r, (one, pieces) in enumerate(zip(packs, _all_pieces(processor, frame, packs, seen))):
        row = _Row()
        row.add(pieces.history, 0, 0)
        pictures += pictures_in(one.history)
        for k, (branch, (question, answer)) in enumerate(zip(one.branches, pieces.branches)):
            pictures += pictures_in(branch.question)
            row.add(question, k + 1, len(pieces.history))
            ends[r, k] = len(row.ids) - 1
            if answer is not None:
                row.add(answer, k + 1, row.positions[-1] + 1)
                row.targets[ends[r, k] : ends[r, k] + len(answer) + 1] = [*answer, stop]
        owners += [r] * (len(pictures) - len(owners))
        rows.append(row)
    return _padded(rows, processor.tokenizer.pad_token_id, plain, ends=ends, pictures=pictures, owners=owners)


def _all_pieces(processor: Any, frame: ChatFrame, packs: Sequence[Pack], seen: Sequence[str] | None) -> list[_Pieces]:
    pictures = None if seen is None else iter(seen)
    told = [
        (frame.opening + frame.body(one.history, pictures), [frame.body(b.question, pictures) for b in one.branches])
        for one in packs
    ]
    if not frame.in_pieces:
        return [
            _cut(processor, frame, one, history, questions, seen is not None)
            for one, (history, questions) in zip(packs, told)
        ]
    texts = [text for history, questions in told for text in (history, *(q + frame.closing for q in questions))]
    ids = iter(_tokens(processor, texts, seen is not None))
    answered = [f"{frame.gap}{branch.answer}" for one in packs for branch in one.branches if branch.answer is not None]
    answers = iter(processor.tokenizer(answered, add_special_tokens=False)["input_ids"] if answered else [])
    return [
        _Pieces(
            history=next(ids),
            branches=[(next(ids), None if branch.answer is None else next(answers)) for branch in one.branches],
        )
        for one in packs
    ]


def _cut(processor: Any, frame: ChatFrame, one: Pack, history: str, questions: list[str], seen: bool) -> _Pieces:
    """Tokenises every prompt whole and cuts it where it leaves what all prompts about the history have in common."""
    prompts = [history + question + frame.closing for question in questions]
    told, *whole = _tokens(processor, [history, *prompts], seen)
    n_shared = min((_n_common(told, ids) for ids in whole), default=len(told))
    branches: list[tuple[list[int], list[int] | None]] = []
    for branch, prompt, ids in zip(one.branches, prompts, whole):
        answer = None
        if branch.answer is not None:
            (with_answer,) = _tokens(processor, [f"{prompt}{frame.gap}{branch.answer}"], seen)
            if with_answer[: len(ids)] != ids:
                raise ModelError(f"expected {branch.answer!r} to begin with a token of its own after the prompt")
            answer = with_answer[len(ids) :]
        branches.append((ids[n_shared:], answer))
    return _Pieces(history=told[:n_shared], branches=branches)


def _n_common(a: list[int], b: list[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b)))


def _padded(rows: list[_Row], pad: int, plain: bool, **parts: Any) -> PackedBatch:
    length = max(len(row.ids) for row in rows)

    def fill(values: list[list[int]], value: int) -> Tensor:
        return torch.tensor([v + [value] * (length - len(v)) for v in values])

    segments = fill([row.segments for row in rows], -1)
    if plain:
        attention = (segments >= 0).long()
    else:
        own = segments[:, :, None] == segments[:, None, :]
        history = (segments == 0)[:, None, :]
        attention = (torch.ones(length, length, dtype=torch.bool).tril() & (own | history))[:, None]
    return PackedBatch(
        input_ids=fill([row.ids for row in rows], pad),
        position_ids=fill([row.positions for row in rows], 0),
        attention=attention,
        targets=fill([row.targets for row in rows], -100),
        segments=segments,
        n_longest=max(max(row.positions, default=-1) + 1 for row in rows),
        **parts,
    )


def one_question_each(packs: Sequence[Pack]) -> list[Pack]:
    """The same questions in the same order, each with a history of its own."""
    return [
        replace(one, branches=branches)
        for one in packs
        for branches in ([(branch,) for branch in one.branches] if one.branches else [()])
    ]
