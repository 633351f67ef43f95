"""Fixed style, semantic preference: is it understood that somebody likes places, when style tells nothing?

All pictures of a person are in one style. The liked ones stand in two settings, the disliked ones in two others; the
prompt names a subject and leaves the setting open. Nothing in training asks for this.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from prefgen.agents import SETTINGS, SUBJECTS, Scene, Shown, paint
from prefgen.agents.scene import painter_seed
from prefgen.benchmark.ablations.asking import Asking
from prefgen.benchmark.judge import Reading
from prefgen.benchmark.methods import METHODS, NotRun
from prefgen.benchmark.ood import not_run
from prefgen.benchmark.results import Row, row
from prefgen.benchmark.statistics import mean_interval
from prefgen.benchmark.tasks import Case, Shelf, Task
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.core import numpy_rng

N_EACH, N_PLACES = 4, 2
METHODS_ASKED = ("prefgen", "ip_adapter", "other_user")


def places_of(case: Case) -> tuple[list[str], list[str]]:
    """The settings that a person likes, and those they dislike."""
    order = [str(s) for s in numpy_rng("liked places", case.person.id).permutation(list(SETTINGS))]
    return order[:N_PLACES], order[N_PLACES : 2 * N_PLACES]


def shelf_of_places(case: Case, subject: str) -> Shelf:
    """Pictures of other subjects in one style, told apart by their settings alone."""
    rng = numpy_rng("shelf of places", case.person.id)
    liked, disliked = places_of(case)
    names = [str(s) for s in rng.permutation([s for s in SUBJECTS if s != subject])]
    style = case.shelf.shown[0].scene
    shown = []
    for k in range(2 * N_EACH):
        likes = k < N_EACH
        setting = (liked if likes else disliked)[k % N_PLACES]
        scene = style.with_changes(subject=names[k], setting=setting, seed=painter_seed(rng, case.member.split))
        shown.append(Shown(scene=scene, liked=likes, truly_liked=likes, time=k / (2 * N_EACH)))
    return Shelf(owner=case.shelf.owner, shown=tuple(shown))


def in_liked_places(reading: Reading, tasks: list[Task]) -> np.ndarray:
    """float [n_tasks]: P(a liked setting) - P(a disliked one)."""
    found = []
    for place, task in enumerate(tasks):
        one, (liked, disliked) = reading.rows([place]), places_of(task.case)
        found.append(one.probability("setting", liked)[0] - one.probability("setting", disliked)[0])
    return np.array(found)


class Semantics:
    """`liked_places` of pictures: P(liked settings) - P(disliked ones), chance 0; and `choice`, how often the score
    ranks a picture in a liked setting above the same subject in a disliked one, chance 0.5."""

    name = "semantics"
    title = "Fixed style, semantic preference: does a liked place appear where the prompt leaves it open? (chance 0)"
    places = None

    def measure(self, asking: Asking) -> list[Row]:
        """Rows of each method."""
        tasks = [replace(t, setting=None) for t in asking.tasks(asking.cases)]
        asked_for = {t.case.user: t.subject for t in tasks}
        cases = [replace(c, shelf=shelf_of_places(c, asked_for[c.user])) for c in asking.cases]
        n = len(cases)
        cases = [replace(c, stranger=cases[(c.user + n // 2) % n].shelf) for c in cases]
        asked = [replace(t, case=cases[t.case.user]) for t in tasks]
        rows: list[Row] = []
        for name in METHODS_ASKED:
            try:
                method = METHODS[name](asking.bench, **tuned_parameters(name))
            except NotRun as reason:
                rows.append(not_run(name, f"{reason}@{self.name}"))
                continue
            made = asking.paint(f"{self.name}.{name}", method, asked)
            results = asking.results(cases, asked, {name: made})
            worth = results.by_user(in_liked_places(results.readings[name], asked))
            rows.append(row(name, f"liked_places@{self.name}", mean_interval(worth)))
        chosen = np.array([self._choice(asking, case, asked_for[case.user]) for case in cases])
        return [*rows, row("prefgen", f"choice@{self.name}", mean_interval(chosen))]

    @staticmethod
    def _choice(asking: Asking, case: Case, subject: str) -> float:
        liked, disliked = places_of(case)
        style, rng = case.shelf.shown[0].scene, numpy_rng("choice of places", case.person.id)
        pairs = [(a, b) for a in liked for b in disliked]
        scenes: list[Scene] = [
            style.with_changes(subject=subject, setting=setting, seed=painter_seed(rng, case.member.split))
            for pair in pairs
            for setting in pair
        ]
        pictures = [Image.fromarray(paint(scene)) for scene in scenes]
        odds = asking.bench.chain.score_history(case.shelf.history(with_prompts=False), pictures)
        first = np.array(odds).reshape(-1, 2)
        return float(np.mean((first[:, 0] > first[:, 1]) + 0.5 * (first[:, 0] == first[:, 1])))
