"""What a picture is worth to a person, as a judge reads it.

Worded: the mean, over the families the taste has an opinion on, of P(liked values) - P(disliked values). Wordless: the
same for looks, and for each trait how much nearer the picture lies to the liked than to the disliked value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefgen.agents import Person, Taste
from prefgen.benchmark.judge import Reading


@dataclass(frozen=True, kw_only=True)
class Utility:
    """float [n] each, in [-1, 1]. `total` is the mean over all opinions, worded and wordless alike; `mode` int [n] is
    which of a two-mode person's tastes the picture was weighed by (0 for everyone else)."""

    worded: np.ndarray
    wordless: np.ndarray
    total: np.ndarray
    mode: np.ndarray


def trait_utility(seen: np.ndarray, good: float, bad: float) -> np.ndarray:
    """`clip((|v - bad| - |v - good|) / |good - bad|, -1, 1)`: 1 at the liked value, -1 at the disliked one."""
    return np.clip((np.abs(seen - bad) - np.abs(seen - good)) / max(abs(good - bad), 1e-6), -1, 1)


def worded_opinions(reading: Reading, taste: Taste) -> np.ndarray:
    """float [n, n_families]: P(liked) - P(disliked) for each family with an opinion."""
    columns = [
        reading.probability(f, taste.likes.get(f, ())) - reading.probability(f, taste.dislikes.get(f, ()))
        for f in taste.families()
    ]
    return np.stack(columns, 1) if columns else np.zeros((len(reading), 0))


def wordless_opinions(reading: Reading, taste: Taste) -> np.ndarray:
    """float [n, n_opinions]: looks (if any is liked or disliked), then each trait with an opinion."""
    columns = []
    if taste.looks_liked or taste.looks_disliked:
        columns.append(
            reading.probability("look", taste.looks_liked) - reading.probability("look", taste.looks_disliked)
        )
    columns += [trait_utility(reading.trait(t), good, bad) for t, (good, bad) in taste.traits.items()]
    return np.stack(columns, 1) if columns else np.zeros((len(reading), 0))


def _mean(columns: np.ndarray) -> np.ndarray:
    return columns.mean(1) if columns.shape[1] else np.zeros(len(columns))


def taste_utility(reading: Reading, taste: Taste) -> Utility:
    """The worth of each picture to one taste."""
    worded, wordless = worded_opinions(reading, taste), wordless_opinions(reading, taste)
    return Utility(
        worded=_mean(worded),
        wordless=_mean(wordless),
        total=_mean(np.concatenate([worded, wordless], 1)),
        mode=np.zeros(len(reading), int),
    )


def person_utility(reading: Reading, person: Person, subjects: Sequence[str]) -> Utility:
    """The worth of each picture to a person. `subjects` [n] are what the prompts asked for.

    A two-mode person is pleased by either taste: each picture counts as its better taste weighs it, the same taste for
    worded and wordless. A drifting person's later taste counts; a subject-dependent person's taste for the subject.
    """
    if person.kind == "two_mode":
        return _better([taste_utility(reading, taste) for taste in person.current_tastes()])
    whole = [taste_utility(reading.rows([i]), person.taste_for(s, time=1.0)) for i, s in enumerate(subjects)]
    return Utility(
        worded=np.array([u.worded[0] for u in whole]),
        wordless=np.array([u.wordless[0] for u in whole]),
        total=np.array([u.total[0] for u in whole]),
        mode=np.zeros(len(whole), int),
    )


def _better(options: list[Utility]) -> Utility:
    mode = np.stack([u.total for u in options]).argmax(0)
    n = np.arange(len(mode))
    return Utility(
        worded=np.stack([u.worded for u in options])[mode, n],
        wordless=np.stack([u.wordless for u in options])[mode, n],
        total=np.stack([u.total for u in options])[mode, n],
        mode=mode,
    )
