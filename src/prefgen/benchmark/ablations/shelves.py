"""Other histories of the same person: longer, shorter, unbalanced, wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prefgen.agents import Shown, history_of
from prefgen.agents.scene import painter_seed
from prefgen.benchmark.population import N_SHOWN, Member
from prefgen.benchmark.tasks import Case, Shelf
from prefgen.core import numpy_rng

N_TAGS = 4
"""Further histories of a person that pictures are taken from when the first holds too few."""


def with_shelf(shelf: Callable[[Case], tuple[Shown, ...]]) -> Callable[[Case, str], Case]:
    """A `Variant.shows` that changes the shelf alone, whatever is asked for."""

    def shows(case: Case, _: str) -> Case:
        return replace(case, shelf=Shelf(owner=case.shelf.owner, shown=shelf(case)))

    return shows


def _pool(member: Member) -> tuple[Shown, ...]:
    """All pictures of a person in the order in which they are to be shown, the benchmark's own history last, so that
    the latest of few are those that the person always shows. Their subjects are those of the history, which no prompt
    asks for."""
    own = member.history()
    subjects = tuple(dict.fromkeys(s.scene.subject for s in own))
    more = [
        s
        for k in range(N_TAGS)
        for s in history_of(member.person, seed_class=member.split, tag=f"more {k}", subjects=subjects)
    ]
    return (*sorted(more, key=lambda s: s.time), *own)


def latest(n_liked: int, n_disliked: int) -> Callable[[Case, str], Case]:
    """So many pictures of either side, the latest."""

    def shelf(case: Case) -> tuple[Shown, ...]:
        return _latest_of(_pool(case.member), n_liked, n_disliked)

    return with_shelf(shelf)


def _latest_of(pool: tuple[Shown, ...], n_liked: int, n_disliked: int) -> tuple[Shown, ...]:
    kept: set[int] = set()
    for side, n in ((True, n_liked), (False, n_disliked)):
        places = [j for j, s in enumerate(pool) if s.liked == side]
        kept |= set(places[max(0, len(places) - n) :])
    return tuple(s for j, s in enumerate(pool) if j in kept)


def truly(case: Case) -> tuple[Shown, ...]:
    """The latest pictures of either side, as many as are usually shown, by their true labels."""
    pool = tuple(replace(s, liked=s.truly_liked) for s in _pool(case.member))
    return _latest_of(pool, N_SHOWN, N_SHOWN)


def mislabelled(n_wrong: int) -> Callable[[Case, str], Case]:
    """Truly liked and truly disliked pictures, of which exactly so many have the wrong label, of both sides in turn."""

    def shelf(case: Case) -> tuple[Shown, ...]:
        shown = truly(case)
        rng = numpy_rng("wrong labels", case.person.id)
        sides = [[i for i, s in enumerate(shown) if s.liked == side] for side in (True, False)]
        orders = [[side[int(k)] for k in rng.permutation(len(side))] for side in sides]
        wrong = [i for pair in zip(*orders) for i in pair][:n_wrong]
        return tuple(replace(s, liked=s.liked != (i in wrong)) for i, s in enumerate(shown))

    return with_shelf(shelf)


def contradicted(n: int) -> Callable[[Case, str], Case]:
    """`n` of the disliked pictures are in the very style of a liked one: the same values, look and traits on another
    subject."""

    def shelf(case: Case) -> tuple[Shown, ...]:
        shown = list(truly(case))
        liked = [s for s in shown if s.liked]
        rng = numpy_rng("contradictions", case.person.id)
        disliked = [i for i, s in enumerate(shown) if not s.liked]
        for place, of in zip(disliked[:n], (liked * (n // max(len(liked), 1) + 1))[:n]):
            scene = of.scene.with_changes(
                subject=shown[place].scene.subject,
                setting=shown[place].scene.setting,
                seed=painter_seed(rng, case.member.split),
            )
            shown[place] = replace(shown[place], scene=scene)
        return tuple(shown)

    return with_shelf(shelf)
