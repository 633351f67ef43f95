"""Which picture influences what? Leave each out in turn, and see what leaves the painting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prefgen.agents import Shown
from prefgen.benchmark.ablations.asking import OURS, Asking
from prefgen.benchmark.judge import Reading
from prefgen.benchmark.results import Row, row
from prefgen.benchmark.statistics import mean_interval
from prefgen.benchmark.tasks import Case, Shelf, Task

N_LIKES_LEFT_OUT = 2
"""Pictures of either side that are left out in turn, the latest ones."""


def own_words(shown: Sequence[Shown], place: int) -> dict[str, str]:
    """The values that one picture shows and no other of its side does: family to value."""
    mine = shown[place].scene.values
    others = [s.scene.values for i, s in enumerate(shown) if i != place and s.liked == shown[place].liked]
    return {f: v for f, v in mine.items() if all(o.get(f) != v for o in others)}


def shown_share(reading: Reading, words: dict[str, str]) -> np.ndarray:
    """float [n]: how likely the judge holds the words, their mean; nan for none."""
    seen = [reading.probability(family, [value]) for family, value in words.items()]
    return np.mean(seen, axis=0) if seen else np.full(len(reading), np.nan)


class Influence:
    """`influence`: how much less (likelihood, the judge's) a painting shows the words that one picture alone brought,
    once it is left out; of a liked picture, of a disliked one (below 0: its words come back), and, as a control, of
    words that a stranger's liked picture shows."""

    name = "influence"
    title = "Which picture influences what? Words of one picture alone: how much they lose when it is left out"
    places = None

    def measure(self, asking: Asking) -> list[Row]:
        """Rows of each kind of picture."""
        tasks = asking.tasks(asking.cases)
        whole = asking.judge.read(asking.paint(OURS, asking.ours(), tasks))
        found: dict[str, list[np.ndarray]] = {"a liked picture": [], "a disliked picture": [], "control": []}
        for k in range(N_LIKES_LEFT_OUT):
            for liked, label in ((True, "a liked picture"), (False, "a disliked picture")):
                left_out = {c.user: _latest(c.shelf.shown, k, liked=liked) for c in asking.cases}
                words = {c.user: own_words(c.shelf.shown, left_out[c.user]) for c in asking.cases}
                fewer = [_without(c, left_out[c.user]) for c in asking.cases]
                asked = [replace(t, case=fewer[t.case.user]) for t in tasks]
                made = asking.paint(f"{self.name}.{'like' if liked else 'dislike'}_{k}", asking.ours(), asked)
                rest = asking.judge.read(made)
                found[label].append(_lost(whole, rest, tasks, words))
                if liked:
                    theirs = {
                        c.user: own_words(c.stranger.shown, _latest(c.stranger.shown, 0, liked=True))
                        for c in asking.cases
                    }
                    strange = {u: {f: v for f, v in w.items() if f not in words[u]} for u, w in theirs.items()}
                    found["control"].append(_lost(whole, rest, tasks, strange))
        users = np.array([task.case.user for task in tasks])
        return [
            row(label, f"{self.name}@{self.name}", mean_interval(_by_user(np.stack(values), users, len(asking.cases))))
            for label, values in found.items()
        ]


def _by_user(lost: np.ndarray, users: np.ndarray, n_users: int) -> np.ndarray:
    """float [n_users]: each person's mean of `lost` [n_left_out, n_tasks] where it is known, else nan."""
    out = np.full(n_users, np.nan)
    for user in range(n_users):
        mine = lost[:, users == user]
        if np.isfinite(mine).any():
            out[user] = mine[np.isfinite(mine)].mean()
    return out


def _latest(shown: Sequence[Shown], k: int, *, liked: bool) -> int:
    """Where the k-th latest picture of a side stands."""
    return [i for i, s in enumerate(shown) if s.liked == liked][-1 - k]


def _without(case: Case, place: int) -> Case:
    shown = tuple(s for i, s in enumerate(case.shelf.shown) if i != place)
    return replace(case, shelf=Shelf(owner=case.shelf.owner, shown=shown))


def _lost(whole: Reading, rest: Reading, tasks: Sequence[Task], words: dict[int, dict[str, str]]) -> np.ndarray:
    lost = [
        shown_share(whole.rows([i]), words[t.case.user])[0] - shown_share(rest.rows([i]), words[t.case.user])[0]
        for i, t in enumerate(tasks)
    ]
    return np.array(lost)
