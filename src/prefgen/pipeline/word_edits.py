"""Word edits: what a person says about their taste in words, on top of what their pictures say.

With `t(·)` the text encoder's pooled embedding, to whose space `ê_sem` is aligned, and `o = t("")`:

1. every forgotten word f is taken out of both sides: `s ← s − max(0, ⟨s − o, v⟩)·v`, `v` the unit vector along
   `t(f) − o`; what is not there is not taken out;
2. the k words said of a side are blended in as the attribute string they are:
   `s ← (1 − a)·s + a·t("gold, pop art")`, `a = k / (k + 2)`; on a side without pictures `a = 1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from prefgen.core import InputError, Side
from prefgen.pipeline.ports import TextEmbedding

HISTORY_WORTH_WORDS = 2.0
"""A side's pictures weigh as much as this many words: one word moves `ê_sem` by a third, two by half."""

MAX_WORD_LETTERS, MAX_WORDS = 100, 200


@dataclass(frozen=True, kw_only=True)
class WordEdits:
    """Words a person has said: liked, disliked, and forgotten (neither liked nor disliked, whatever pictures say)."""

    like: tuple[str, ...] = ()
    dislike: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.like or self.dislike or self.forget)

    def of(self, side: Side) -> tuple[str, ...]:
        """The words said of one side."""
        return self.like if side == "like" else self.dislike

    def edited(self, *, like: Iterable[str] = (), dislike: Iterable[str] = (), forget: Iterable[str] = ()) -> WordEdits:
        """These edits and then those: the last thing said of a word stands.

        Raises:
            InputError: a word is not text, blank, too long, or said twice at once; or there are more than `MAX_WORDS`.
        """
        said: dict[str, str] = {}
        for kind, words in (("like", like), ("dislike", dislike), ("forget", forget)):
            if isinstance(words, str):
                raise InputError(f"expected a list of words to {kind}, got one text", hint=f'write {kind}=["{words}"]')
            for word in map(clean_word, words):
                if said.setdefault(word, kind) != kind:
                    raise InputError(f"{word!r} is said twice: to {said[word]} and to {kind}")
        before = {"like": self.like, "dislike": self.dislike, "forget": self.forget}
        kept = {kind: [word for word in words if word not in said] for kind, words in before.items()}
        for word, kind in said.items():
            kept[kind].append(word)
        if (n_said := sum(map(len, kept.values()))) > MAX_WORDS:
            raise InputError(f"expected at most {MAX_WORDS} words said of a taste, got {n_said}")
        return WordEdits(**{kind: tuple(words) for kind, words in kept.items()})

    def to_json(self) -> dict[str, list[str]]:
        """Plain lists."""
        return {"like": list(self.like), "dislike": list(self.dislike), "forget": list(self.forget)}

    @staticmethod
    def from_json(value: Mapping[str, Iterable[str]]) -> WordEdits:
        """The inverse of `to_json`; raises `InputError` if no edits could have led to it."""
        return WordEdits().edited(like=value["like"], dislike=value["dislike"], forget=value["forget"])


NO_EDITS = WordEdits()


def clean_word(word: object) -> str:
    """A word or short phrase in small letters with single blanks."""
    if not isinstance(word, str):
        raise InputError(f"expected a word, got {type(word).__name__}")
    cleaned = " ".join(word.lower().replace(",", " ").split())
    if not cleaned or len(cleaned) > MAX_WORD_LETTERS:
        raise InputError(f"expected a word of 1 to {MAX_WORD_LETTERS} letters, got {len(cleaned)}")
    if not cleaned.isprintable():
        raise InputError(f"expected a word of printable letters, got {cleaned!r}")
    return cleaned


def edited_sem(sem: Tensor | None, edits: WordEdits, side: Side, text_embedding: TextEmbedding) -> Tensor:
    """One side's `ê_sem` [1, d_text] after the edits, by the formula above; `sem` None is a side without pictures."""
    words = edits.of(side)
    if sem is not None and edits.forget:
        embedded = text_embedding(["", *edits.forget]).to(sem)
        sem = _without(sem, embedded[1:], embedded[0])
    if not words:
        if sem is None:
            raise InputError(f"expected pictures or words on the side {side!r}, got neither")
        return sem
    said = text_embedding([", ".join(words)])
    if sem is None:
        return said
    share = len(words) / (len(words) + HISTORY_WORTH_WORDS)
    return (1 - share) * sem + share * said.to(sem)


def _without(sem: Tensor, forgotten: Tensor, origin: Tensor) -> Tensor:
    for direction in torch.nn.functional.normalize(forgotten - origin, dim=-1):
        amount = ((sem - origin) @ direction).clamp_min(0)
        sem = sem - amount[:, None] * direction
    return sem
