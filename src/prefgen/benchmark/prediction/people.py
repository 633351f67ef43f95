"""Simulated people to be predicted.

References are pairs of one prompt each out of a history of their own, the oldest pair left out first; in a tenth of
them the choice is wrong, as in the population's labels. Questions are truthful and about subjects the references do not
show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from prefgen.agents import CONTINUOUS, Scene, history_of, paint
from prefgen.benchmark.judge import CLASSES, NONE, Reading
from prefgen.benchmark.prediction.asked import N_REFERENCES, Asked, Pair, in_random_order
from prefgen.benchmark.queries import QueryKind, queries_of
from prefgen.benchmark.tasks import Case
from prefgen.benchmark.utility import person_utility
from prefgen.core import numpy_rng


def true_reading(scenes: Sequence[Scene]) -> Reading:
    """What a judge without error would read of scenes; its features are empty."""
    told = [{"subject": s.subject, "setting": s.setting, "look": s.look, **s.values} for s in scenes]
    classes = {
        head: np.eye(len(values))[[values.index(t.get(head) or NONE) for t in told]] for head, values in CLASSES.items()
    }
    traits = np.array([[s.continuous.get(trait, 0.0) for trait in CONTINUOUS] for s in scenes])
    nothing = np.zeros((len(scenes), 0))
    return Reading(classes=classes, traits=traits, features=nothing, structure=nothing, style=nothing)


def share_choosing_first(case: Case, others: Sequence[Case], pairs: Sequence[tuple[Scene, Scene]]) -> np.ndarray:
    """float [n]: the share of the other people whose true taste is pleased more by the first; one half for ties."""
    scenes = [scene for pair in pairs for scene in pair]
    reading, subjects = true_reading(scenes), [scene.subject for scene in scenes]
    votes = []
    for other in others:
        if other.person.id != case.person.id:
            worth = person_utility(reading, other.person, subjects).total.reshape(-1, 2)
            votes.append(0.5 + 0.5 * np.sign(worth[:, 0] - worth[:, 1]))
    return np.mean(votes, axis=0) if votes else np.full(len(pairs), 0.5)


def reference_pairs(case: Case) -> list[Pair]:
    """The latest pair first: as many as are ever shown, of subjects of the person's own history."""
    n, person, split = max(N_REFERENCES), case.person, case.member.split
    wrong = numpy_rng("wrong references", person.id).random(n) < person.flipped
    subjects = tuple(dict.fromkeys(s.scene.subject for s in case.member.history()))
    shown = history_of(
        replace(person, n_likes=n, n_dislikes=n, flipped=0.0), seed_class=split, tag="references", subjects=subjects
    )
    painted = [Image.fromarray(paint(s.scene)) for s in shown]
    pairs = [(painted[i], painted[i + 1]) for i in range(0, len(shown), 2)]
    return [(b, a) if turned else (a, b) for (a, b), turned in zip(pairs, wrong)][::-1]


def asked_of_cases(cases: Sequence[Case], kind: QueryKind, n_questions: int, seed: int = 0) -> list[Asked]:
    """Every case with `n_questions` pairs of a kind."""
    asked = []
    for case in cases:
        queries = queries_of(case, kind, n_questions, seed)
        order = numpy_rng("order of questions", case.person.id, kind, seed)
        painted = [(a, b) for a, b in (q.pictures() for q in queries)]
        questions, first = in_random_order(order, painted)
        scenes = [(q.liked, q.disliked) if kept else (q.disliked, q.liked) for q, kept in zip(queries, first)]
        asked.append(
            Asked(
                person=case.person.id,
                references=reference_pairs(case),
                questions=questions,
                first_chosen=first,
                crowd=share_choosing_first(case, cases, scenes),
            )
        )
    return asked
