"""Preference conversations from simulated people: which history is told, what is asked of it, and the right answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from prefgen.agents import Person, Taste
from prefgen.agents.people import LIVING
from prefgen.core import Aspect, Side
from prefgen.mllm import (
    Branch,
    Pack,
    Told,
    history_parts,
    like_question,
    same_user_question,
)
from prefgen.recipes.mllm_people import ASPECT_FAMILIES, N_EVERYTHING, N_ONE, pairs_of
from prefgen.recipes.vqa_branches import (
    choice_branch,
    line_branch,
    list_branches,
    pair_branches,
    word_branch,
    words_of,
    yes_no_branches,
)
from prefgen.recipes.vqa_slots import Slot, chosen_slots, sizes, slots_of, told, told_sides

HistoryKind = Literal["own", "weighted", "aged", "aspect", "subject", "other", "none"]
KINDS: dict[HistoryKind, float] = {
    "own": 0.62, "weighted": 0.08, "aged": 0.07, "aspect": 0.10, "subject": 0.05, "other": 0.05, "none": 0.03,
}  # fmt: skip
MORE_QUERIES = 3
"""Further yes/no pairs asked of a history where its person has pictures left: one reading serves many questions."""
WORDS_ASKED = 4
"""Single words asked about each history: with one in half of the histories, words stayed at chance."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A pack, and where its yes/no pairs stand: (branch of the liked picture, branch of the disliked one)."""

    pack: Pack
    pairs: tuple[tuple[int, int], ...]
    kind: HistoryKind
    person: int
    sides: tuple[Side, ...] = ()
    """The sides of the history's pictures as they are told."""
    tastes: tuple[Taste, ...] = ()
    """What the history's one person likes and dislikes now; empty where a history mixes people or is about a part."""
    items: tuple[Told, ...] = ()
    """The history's pictures before they are put into words."""
    notes: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Words said to be liked and to be disliked."""


@dataclass(frozen=True, kw_only=True)
class Twist:
    """How a pack's person is asked about: which pairs are queries, which are left for this history."""

    queries: tuple[tuple[Slot, Slot], ...]
    rest: list[tuple[Slot, Slot]]
    choice: tuple[Slot, Slot]


def _divide(rng: np.random.Generator, index: int, split: str, half: int | None) -> Twist:
    """Two query pairs (one differing in everything, one in one thing), a pair to choose from, the rest for the
    history. `half` 0 or 1 gives two disjoint histories of one person (the same queries)."""
    person = pairs_of(index, split)[0]
    current = [k for k in range(N_EVERYTHING) if person.kind != "drifting" or k / (N_EVERYTHING - 1) >= person.turn]
    asked = [int(k) for k in rng.permutation(current)[:2]]
    one = N_EVERYTHING + int(rng.integers(N_ONE))
    left = [int(k) for k in rng.permutation([k for k in range(N_EVERYTHING) if k not in asked])]
    if half is not None:
        left = left[half::2]
    queries = slots_of(index, split, [asked[0], one])
    return Twist(
        queries=tuple(queries), rest=slots_of(index, split, left), choice=slots_of(index, split, [asked[1]])[0]
    )


def own_pack(
    rng: np.random.Generator,
    index: int,
    split: str,
    *,
    half: int | None = None,
    divide_rng: np.random.Generator | None = None,
    easy: bool = False,
) -> Asked:
    """The person's own history: noisy labels (true ones if `easy`), sometimes prompts, times and comments."""
    person = pairs_of(index, split)[0]
    twist = _divide(divide_rng or rng, index, split, half)
    noted = bool(rng.random() < 0.15)
    most = 2 if noted and rng.random() < 0.5 else 8
    slots = chosen_slots(rng, twist.rest, *sizes(rng, min(most, len(twist.rest))))
    timed = bool(rng.random() < (0.7 if person.kind == "drifting" else 0.25))
    prompts = bool(rng.random() < 0.3)
    comments = 0.5 if rng.random() < 0.25 else 0.0
    items = told(rng, slots, flipped=0.0 if easy else person.flipped, prompts=prompts, timed=timed, comments=comments)
    notes = _notes(rng, person) if noted else ((), ())
    return _asked(rng, "own", index, split, twist, slots, items, person, notes)


def _notes(rng: np.random.Generator, person: Person) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words that the person adds to the pictures: one to three likes, up to two dislikes, all true."""
    words = []
    for held, n in (("likes", int(rng.integers(1, 4))), ("dislikes", int(rng.integers(0, 3)))):
        truly = [v for taste in person.current_tastes() for vs in getattr(taste, held).values() for v in vs]
        words.append(tuple(dict.fromkeys(str(v) for v in rng.permutation(truly)[:n])))
    return words[0], words[1]


def _asked(
    rng: np.random.Generator,
    kind: HistoryKind,
    index: int,
    split: str,
    twist: Twist,
    slots: list[Slot],
    items: list[Told],
    person: Person,
    notes: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    strangers: Sequence[Slot] = (),
) -> Asked:
    own = [s for s in slots if s.person == index and any(s.taste == t for t in person.current_tastes())]
    likes, dislikes = words_of(own, "like", notes[0]), words_of(own, "dislike", notes[1])
    branches = [b for pair in twist.queries for b in pair_branches(rng, pair)]
    branches.append(choice_branch(rng, twist.choice[0].key, twist.choice[1].key))
    branches += list_branches(likes, dislikes)
    pairs = [(0, 1), (2, 3)]
    taken = {slot.slot for slot in slots}
    unseen = [pair for pair in twist.rest if not taken & {pair[0].slot, pair[1].slot}]
    draw = rng.random()
    if draw < 0.25:
        branches.append(line_branch(likes, dislikes))
    elif draw < 0.5 and unseen:
        branches.append(_same_user(rng, index, split, unseen))
    branches += [word_branch(rng, likes, dislikes, person.current_tastes()) for _ in range(WORDS_ASKED)]
    shown = {slot.scene.subject for slot in (*slots, *strangers)}
    free = [pair for pair in _more_queries(index, split, twist, unseen, person) if pair[0].scene.subject not in shown]
    for pair in (free[int(i)] for i in rng.permutation(len(free))[:MORE_QUERIES]):
        pairs.append((len(branches), len(branches) + 1))
        branches += pair_branches(rng, pair)
    first: Side = "like" if rng.random() < 0.7 else "dislike"
    return Asked(
        pack=Pack(
            history=history_parts(items, first=first, notes_like=notes[0], notes_dislike=notes[1]),
            branches=tuple(branches),
        ),
        pairs=tuple(pairs),
        kind=kind,
        person=index,
        sides=told_sides(items, first),
        tastes=() if strangers else tuple(person.current_tastes()),
        items=tuple(items),
        notes=notes,
    )


def _more_queries(
    index: int,
    split: str,
    twist: Twist,
    unseen: Sequence[tuple[Slot, Slot]],
    person: Person,
) -> list[tuple[Slot, Slot]]:
    """Further pairs of what the person likes now, not asked of yet and none of the history's."""
    tastes = person.current_tastes()
    asked = {pair[0].slot for pair in (*twist.queries, twist.choice)}
    ones = slots_of(index, split, range(N_EVERYTHING, N_EVERYTHING + N_ONE))
    return [pair for pair in (*unseen, *ones) if pair[0].taste in tastes and pair[0].slot not in asked]


def _same_user(rng: np.random.Generator, index: int, split: str, unseen: list[tuple[Slot, Slot]]) -> Branch:
    """A second short history: this user's unseen pictures, or another user's."""
    same = bool(rng.random() < 0.5)
    others = [int(k) for k in rng.permutation(N_EVERYTHING)[:4]]
    pairs = unseen if same else slots_of(_another(rng, index), split, others)
    pairs = pairs[: int(rng.integers(1, 4))]
    second = told(rng, [slot for pair in pairs for slot in pair], flipped=0.0)
    return Branch(question=same_user_question(second), answer="Yes." if same else "No.", kind="same_user")


def _strangers(
    rng: np.random.Generator, index: int, split: str, avoid: tuple[tuple[Slot, Slot], ...], n: int
) -> list[tuple[Slot, Slot]]:
    """Pairs of another person, none of the subjects in `avoid`: a query never shares its subject with a history."""
    subjects = {pair[0].scene.subject for pair in avoid}
    pairs = slots_of(_another(rng, index), split, [int(k) for k in rng.permutation(N_EVERYTHING)])
    return [pair for pair in pairs if pair[0].scene.subject not in subjects][:n]


def _another(rng: np.random.Generator, index: int) -> int:
    """Another person near by in the numbering, so that the smallest populations serve too."""
    return index - 1 - int(rng.integers(index)) if index else 1


def mixed_pack(rng: np.random.Generator, index: int, split: str, kind: HistoryKind) -> Asked:
    """Two people's pictures in one history; the heavier (`weighted`) or newer (`aged`) ones are the asked person's."""
    person = pairs_of(index, split)[0]
    twist = _divide(rng, index, split, None)
    strangers = _strangers(rng, index, split, (*twist.queries, twist.choice), 6)
    own = [pair for pair in twist.rest if pair[0].taste == twist.queries[0][0].taste] or twist.rest
    mine = chosen_slots(rng, own[:6], *sizes(rng, 4))
    theirs = chosen_slots(rng, strangers, *sizes(rng, 4))
    told_mine, told_theirs = told(rng, mine, flipped=person.flipped), told(rng, theirs, flipped=person.flipped)
    if kind == "weighted":
        heavy, light = ((3.0, 1.0), (3.0, 0.5), (2.0, 0.3), (1.0, 0.3), (2.0, 0.5))[int(rng.integers(5))]
        told_mine = [replace(item, weight=heavy) for item in told_mine]
        told_theirs = [replace(item, weight=light) for item in told_theirs]
    else:
        told_mine = [replace(item, age_days=float(rng.uniform(0, 100))) for item in told_mine]
        old = 150.0 if rng.random() < 0.3 else 330.0
        told_theirs = [replace(item, age_days=old + float(rng.uniform(0, 140))) for item in told_theirs]
    order = rng.permutation(len(mine) + len(theirs))
    items = [(told_mine + told_theirs)[int(i)] for i in order]
    return _asked(rng, kind, index, split, twist, mine, items, person, strangers=theirs)


def aspect_pack(rng: np.random.Generator, index: int, split: str) -> Asked:
    """Opinions about one aspect only; the query pair opposes that aspect to all others."""
    person, pairs = pairs_of(index, split)
    number = N_EVERYTHING + N_ONE
    good, bad = slots_of(index, split, [number])[0]
    aspect: Aspect = pairs[number].factor  # type: ignore[assignment]
    inverse = bool(rng.random() < 0.4)
    if inverse:
        aspect = str(rng.choice([a for a in ASPECT_FAMILIES if a != aspect and _speaks(good.taste, a)] or [aspect]))  # type: ignore[assignment]
        inverse = aspect != pairs[number].factor
    if inverse:
        good, bad = bad, good
    twist = _divide(rng, index, split, None)
    rest = [pair for pair in twist.rest if pair[0].taste == good.taste] or twist.rest
    slots = chosen_slots(rng, rest, *sizes(rng, min(8, len(rest))))
    items = [replace(item, aspect=aspect) for item in told(rng, slots, flipped=person.flipped)]
    reasons = [[v for f, v in s.scene.values.items() if f in ASPECT_FAMILIES[aspect] and v in held.get(f, ())]
               for s, held in ((good, good.taste.likes), (bad, bad.taste.dislikes))]  # fmt: skip
    branches = [
        *yes_no_branches((good.key, bad.key), reasons[0], reasons[1], rng),
        choice_branch(rng, good.key, bad.key),
    ]
    inside = [
        {v for f in ASPECT_FAMILIES[aspect] for v in held.get(f, ())}
        for held in (good.taste.likes, good.taste.dislikes)
    ]
    own = [slot for slot in slots if slot.taste == good.taste]
    likes = [v for v in words_of(own, "like") if v in inside[0]]
    dislikes = [v for v in words_of(own, "dislike") if v in inside[1]]
    branches += list_branches(likes, dislikes)
    return Asked(
        pack=Pack(history=history_parts(items), branches=tuple(branches)),
        pairs=((0, 1),),
        kind="aspect",
        person=index,
        sides=told_sides(items),
        items=tuple(items),
    )


def _speaks(taste: Taste, aspect: Aspect) -> bool:
    return any(f in taste.likes for f in ASPECT_FAMILIES[aspect])


def subject_pack(rng: np.random.Generator, index: int, split: str) -> Asked:
    """Opinions about the subject only: living things liked and things disliked, or the reverse; style tells nothing."""
    slots = [slot for pair in slots_of(index, split, range(N_EVERYTHING + N_ONE)) for slot in pair]
    by_subject: dict[bool, dict[str, Slot]] = {True: {}, False: {}}
    for i in rng.permutation(len(slots)):
        slot = slots[int(i)]
        by_subject[slot.scene.subject in LIVING].setdefault(slot.scene.subject, slot)
    likes_living = bool(rng.random() < 0.5)
    groups = {side: list(by_subject[(side == "like") == likes_living].values()) for side in ("like", "dislike")}
    if min(map(len, groups.values())) < 2:
        return own_pack(rng, index, split)
    queries = groups["like"].pop(), groups["dislike"].pop()
    items = [
        Told(picture=slot.key, side=side, aspect="subject")  # type: ignore[arg-type]
        for side, group in groups.items()
        for slot in group[: int(rng.integers(1, 7))]
    ]
    keys = (queries[0].key, queries[1].key)
    branches = [*yes_no_branches(keys, (), (), rng), choice_branch(rng, *keys)]  # type: ignore[arg-type]
    order = rng.permutation(len(items))
    return Asked(
        pack=Pack(history=history_parts([items[int(i)] for i in order]), branches=tuple(branches)),
        pairs=((0, 1),),
        kind="subject",
        person=index,
        sides=told_sides(items),
        items=tuple(items),
    )


def foreign_pack(rng: np.random.Generator, index: int, split: str, kind: HistoryKind) -> Asked:
    """Another person's history or none: nothing is known of the asked one, so each answer is a fair coin's."""
    twist = _divide(rng, index, split, None)
    items: list[Told] = []
    if kind == "other":
        strangers = _strangers(rng, index, split, twist.queries, 8)
        items = told(rng, chosen_slots(rng, strangers, *sizes(rng, 8)), flipped=0.1)
    branches = []
    for slot in (s for pair in twist.queries for s in pair):
        yes = bool(rng.random() < 0.5)
        branches.append(Branch(question=like_question(slot.key), answer="Yes." if yes else "No.", kind="yes_no"))
    return Asked(
        pack=Pack(history=history_parts(items), branches=tuple(branches)),
        pairs=(),
        kind=kind,
        person=index,
        sides=told_sides(items),
        items=tuple(items),
    )


def pack_of(rng: np.random.Generator, index: int, split: str, kind: HistoryKind) -> Asked:
    """A pack of one kind for one person."""
    if kind in ("weighted", "aged"):
        return mixed_pack(rng, index, split, kind)
    if kind == "aspect":
        return aspect_pack(rng, index, split)
    if kind == "subject":
        return subject_pack(rng, index, split)
    if kind in ("other", "none"):
        return foreign_pack(rng, index, split, kind)
    return own_pack(rng, index, split)
