"""Preference conversations about people's own pictures, some simulated people's between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prefgen.core import Side, numpy_rng
from prefgen.mllm import Branch, Pack, history_parts, like_question
from prefgen.recipes.own_data.features import People
from prefgen.recipes.own_data.people import MOST_PAIRS, Opinion, OwnPerson, as_told, questions_for, some_of
from prefgen.recipes.vqa_branches import choice_branch, yes_no_branches
from prefgen.recipes.vqa_packs import KINDS, Asked, pack_of
from prefgen.recipes.vqa_slots import told_sides

QUESTIONS_A_HISTORY = 10
"""Questions that one history counts for in the number of samples seen."""
EVALUATED_PICTURES = 8
"""Most pictures a side that an evaluated history tells."""
CHOICE_RATE = 0.5
"""Share of the pairs, beside the first, of which it is also asked which one is liked better."""


def own_conversation(
    rng: np.random.Generator, person: OwnPerson, place: int, most: int, most_pairs: int = MOST_PAIRS
) -> Asked:
    """A person's history and pairs that it does not hold: yes or no on both, and which of the two.

    Order of pictures and of sides, which picture stands first, whether prompts and times are told: all drawn. Labels
    are the person's own and go where their pictures go.
    """
    pairs, rest = questions_for(rng, person, most_pairs)
    prompts, times = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    items = as_told(some_of(rng, rest, most), prompts=prompts, times=times)
    branches: list[Branch] = []
    places: list[tuple[int, int]] = []
    for good, bad in pairs:
        places.append((len(branches), len(branches) + 1))
        branches += yes_no_branches((good.key, bad.key), (), (), rng)
        if len(places) == 1 or rng.random() < CHOICE_RATE:
            branches.append(choice_branch(rng, good.key, bad.key))
    first: Side = "like" if rng.random() < 0.7 else "dislike"
    return Asked(
        pack=Pack(history=history_parts(items, first=first), branches=tuple(branches)),
        pairs=tuple(places),
        kind="own",
        person=place,
        sides=told_sides(items, first),
        items=tuple(items),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversations:
    """All that is asked in training: people's own conversations, and simulated people's, the tokens of whose pictures
    are `painted` [n, n_tokens, d]."""

    people: People
    painted: np.ndarray
    n_simulated: int
    simulated_share: float
    most_pictures: int
    seed: int
    most_pairs: int = MOST_PAIRS

    def at(self, step: int, n: int) -> tuple[list[Asked], Tensor]:
        """The conversations of a step and whose they are (bool [n], simulated): a pure function of the step."""
        rng = numpy_rng("own conversations", self.seed, step)
        simulated = rng.random(n) < (self.simulated_share if self.n_simulated else 0.0)
        return [self._simulated(rng) if one else self._own(rng) for one in simulated], torch.from_numpy(simulated)

    def _own(self, rng: np.random.Generator) -> Asked:
        place = int(self.people.askable[int(rng.integers(len(self.people.askable)))])
        return own_conversation(rng, self.people.person(place), place, self.most_pictures, self.most_pairs)

    def _simulated(self, rng: np.random.Generator) -> Asked:
        kind = str(rng.choice(list(KINDS), p=np.array(list(KINDS.values())) / sum(KINDS.values())))
        return pack_of(rng, int(rng.integers(self.n_simulated)), "train", kind)  # type: ignore[arg-type]

    def features(self, keys: Sequence[int], owners: Sequence[int], simulated: Tensor) -> Tensor:
        """float32 [n_pictures, n_tokens, d] of a batch's pictures; `owners` are the conversations they stand in."""
        return torch.stack(
            [
                torch.from_numpy(self.painted[key].astype(np.float32))
                if bool(simulated[owner])
                else self.people.rows("tokens", [key])[0]
                for key, owner in zip(keys, owners)
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What somebody is asked to measure a model: always the same. Pictures are asked pair by pair, the liked first."""

    person: OwnPerson
    history: tuple[Opinion, ...]
    pairs: tuple[tuple[Opinion, Opinion], ...]

    @property
    def asked(self) -> list[Opinion]:
        """All pictures asked about."""
        return [opinion for pair in self.pairs for opinion in pair]

    def pack(self, *, known: bool = True) -> Pack:
        """The yes/no questions, told the history as a profile tells it, or nothing."""
        told = as_told(self.history if known else ())
        return Pack(
            history=history_parts(told), branches=tuple(Branch(question=like_question(o.key)) for o in self.asked)
        )


def examined(person: OwnPerson) -> Examined:
    """Up to `MOST_PAIRS` pairs, and up to `EVALUATED_PICTURES` a side of what is left, in the order they were met."""
    rng = numpy_rng("examined", person.user_id)
    pairs, rest = questions_for(rng, person, MOST_PAIRS)
    sides = [[k for k, o in enumerate(rest) if o.side == side] for side in ("like", "dislike")]
    kept = sorted(k for side in sides for k in rng.permutation(side)[:EVALUATED_PICTURES].tolist())
    return Examined(person=person, history=tuple(rest[int(k)] for k in kept), pairs=tuple(pairs))


def examined_people(people: People, most: int) -> list[Examined]:
    """The same `most` of those who can be asked about, drawn evenly."""
    n = len(people.askable)
    chosen = sorted(numpy_rng("examined people").permutation(n)[:most].tolist())
    return [examined(people.person(int(people.askable[k]))) for k in chosen]
