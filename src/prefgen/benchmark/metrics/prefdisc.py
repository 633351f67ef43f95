"""Does a picture made for someone say what they like? Ours, since PREFDISC is not defined in what could be read of
the paper (arXiv 2512.06020).

Definition: of one other prompt the person has a liked and a disliked rendering that nobody was shown. A scorer that
knows the method's picture alone ranks the two by likeness to it: the cosine of what the judge reads of their style
(probabilities of every worded value and look, and the traits; not subject and setting). The figure is how often the
liked one comes first; ties count one half, chance is 0.5.
"""

from __future__ import annotations

import numpy as np

from prefgen.agents import FAMILIES, SETTINGS, Scene, rendering
from prefgen.benchmark.judge import CLASSES, NONE, Reading
from prefgen.benchmark.methods.oracle import ruling_taste
from prefgen.benchmark.metrics.gain import OURS
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import difference_interval
from prefgen.benchmark.tasks import Task, subjects_for
from prefgen.core import numpy_rng

LIKED, DISLIKED = "held_out_liked", "held_out_disliked"
"""Names of the readings of the held-out pairs, parallel to the tasks."""
N_TRAITS_AS_A_FAMILY = 0.5
"""Weight of a trait's value beside a probability: the six together weigh about as much as two families."""


def held_out_pair(task: Task) -> tuple[Scene, Scene]:
    """A liked and a disliked rendering of one prompt that is neither the task's nor in the history."""
    rng = numpy_rng("held-out pair", task.seed)
    free = [s for s in subjects_for(task.case, "ordinary") if s != task.subject] or [task.subject]
    subject, setting = str(rng.choice(free)), str(rng.choice(SETTINGS))
    liked, disliked = (
        rendering(
            rng,
            ruling_taste(task),
            subject,
            setting,
            liked=side,
            seed_class=task.case.member.split,
            allow_reserved=True,
        )
        for side in (True, False)
    )
    return liked, disliked


def style_of(reading: Reading) -> np.ndarray:
    """float [n, d]: what is seen of style, "none" left out."""
    heads = [reading.classes[head][:, [v != NONE for v in CLASSES[head]]] for head in (*FAMILIES, "look")]
    return np.concatenate([*heads, N_TRAITS_AS_A_FAMILY * reading.traits], 1)


def likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float [n]: cosines of two stacks of styles, row by row."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(norms, 1e-9)


def liked_first(picture: Reading, liked: Reading, disliked: Reading) -> np.ndarray:
    """float [n]: 1 where the picture is more like the liked one, one half for ties."""
    style = style_of(picture)
    gap = likeness(style, style_of(liked)) - likeness(style, style_of(disliked))
    return np.where(np.abs(gap) < 1e-9, 0.5, (gap > 0).astype(float))


class PrefDisc:
    """`prefdisc` for every method, and `prefdisc_above:` each rival for ours."""

    name = "prefdisc"

    def measure(self, results: Results) -> list[Row]:
        """Rows where the held-out pairs were read."""
        if LIKED not in results.extra_readings:
            return []
        liked, disliked = results.extra_readings[LIKED], results.extra_readings[DISLIKED]
        hits = {m: liked_first(results.readings[m], liked, disliked) for m in results.methods}
        rows = [results.mean(m, self.name, h) for m, h in hits.items()]
        if OURS in hits:
            by_user = {m: results.by_user(h) for m, h in hits.items()}
            theirs = {m: u for m, u in by_user.items() if m not in (OURS, "painter")}
            rows += [
                row(OURS, f"{self.name}_above:{m}", difference_interval(by_user[OURS], u)) for m, u in theirs.items()
            ]
        return rows
