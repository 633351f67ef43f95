"""What a question about our method is asked with, and how its variants are painted and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from prefgen.agents import Dials, new_person
from prefgen.agents.people import FIRST_UNSEEN_CLUSTER, Kind
from prefgen.benchmark.judge import PictureJudge
from prefgen.benchmark.methods import METHODS, Bench, Method, NotRun
from prefgen.benchmark.methods.oracle import ruling_taste
from prefgen.benchmark.metrics.subject_accuracy import subject_hits
from prefgen.benchmark.ood import not_run
from prefgen.benchmark.population import Member
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import Estimate, difference_interval, mean_interval, ratio_interval
from prefgen.benchmark.store import PictureStore, fingerprint
from prefgen.benchmark.tasks import Case, Task, cases_of, tasks_of
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.core import numpy_rng

OURS, PROMPT = "prefgen", "prompt"
AS_IT_IS = "as it is"
"""The variant that every question shares: our method as tuned, each person's usual pictures."""
FLIPPED = 0.1
"""Share of wrong labels in the histories of people who are made up for one question."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asking:
    """Model, judge and people of a run. Every variant paints the same prompts from the same seeds.

    `cases` are benchmark people; `n_of_kind` people are made up where a question is about one kind alone, of whom the
    benchmark holds too few. `store` keeps pictures under `key`.
    """

    bench: Bench
    judge: PictureJudge
    cases: tuple[Case, ...]
    n_of_kind: int
    n_seeds: int = 2
    seed: int = 0
    store: PictureStore = field(default_factory=PictureStore)
    key: tuple[str, ...] = ()
    _painted: dict[str, np.ndarray] = field(default_factory=dict)

    def tasks(self, cases: Sequence[Case], n_seeds: int | None = None) -> list[Task]:
        """One ordinary prompt each, with every seed."""
        return tasks_of(cases, n_prompts=1, n_seeds=n_seeds or self.n_seeds, seed=self.seed)

    def ours(self, **changes: float) -> Method:
        """Our method as tuned, but for `changes`."""
        return METHODS[OURS](self.bench, **{**tuned_parameters(OURS), **changes})

    def prompt(self) -> Method:
        """The prompt alone."""
        return METHODS[PROMPT](self.bench, **tuned_parameters(PROMPT))

    def paint(self, name: str, method: Method, tasks: Sequence[Task]) -> np.ndarray:
        """uint8 [n_tasks, 64, 64, 3]; painted once for each name, method and set of people."""
        people = fingerprint([[t.case.person.id, t.seed] for t in tasks])
        key = fingerprint(*self.key, people, self.seed)
        place = f"{name}-{key}"
        if place not in self._painted:
            self._painted[place] = self.store.painted(name, key, tasks, method.paint)
        return self._painted[place]

    def results(self, cases: Sequence[Case], tasks: Sequence[Task], pictures: dict[str, np.ndarray]) -> Results:
        """Pictures with what the judge reads in them."""
        readings = {name: self.judge.read(made) for name, made in pictures.items()}
        return Results(cases=cases, tasks=tasks, pictures=pictures, readings=readings, bench=self.bench, seed=self.seed)

    def people_of_kind(self, kind: Kind) -> list[Case]:
        """People of one kind whom neither training nor the benchmark's file knows; the same each time."""
        dials = Dials(
            two_mode=float(kind == "two_mode"),
            drifting=float(kind == "drifting"),
            subject_dependent=float(kind == "subject_dependent"),
            flipped=FLIPPED,
        )
        members = []
        for number in range(self.n_of_kind):
            identity = f"ablation-{kind}-{number}"
            cluster = int(numpy_rng("cluster of", identity).integers(FIRST_UNSEEN_CLUSTER))
            member = Member(person=new_person(identity, cluster, dials), split="test")
            wrong = numpy_rng("flips of", identity).random(len(member.history())) < FLIPPED
            members.append(replace(member, flipped=tuple(int(i) for i in np.flatnonzero(wrong))))
        return cases_of(members)


class Titled(Protocol):
    """What a page must know of a question."""

    @property
    def name(self) -> str:
        """The question's name, behind the `@` of its rows' metrics."""
        ...

    @property
    def title(self) -> str:
        """What is asked, in a line."""
        ...

    @property
    def places(self) -> Mapping[str, float] | None:
        """Where variants stand on an axis; None where they are kinds and not amounts."""
        ...


class Question(Titled, Protocol):
    """One question about our method: what is varied, and rows that answer it.

    A row's `method` is the variant, its `metric` a figure, `@` and the question's name.
    """

    def measure(self, asking: Asking) -> list[Row]:
        """The rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of asking. `shows`, called with a case and the subject that is asked for, changes what a person is and
    shows (None: as usual), `paints` the method (None: ours as tuned)."""

    label: str
    x: float | None = None
    shows: Callable[[Case, str], Case] | None = None
    paints: Callable[[Asking], Method] | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A question that paints variants for the same people and compares their worth.

    Rows of each variant: `over_prompt`, `over_prompt_worded`, `over_prompt_wordless` (utility less that of the prompt
    alone), `subject_accuracy_of_prompt`, `disliked_shown` (P of disliked words, mean over families that hold one), and
    `above:{reference}`, the paired difference in total utility from the variant `reference`.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    reference: str
    people: Callable[[Asking], Sequence[Case]] = lambda asking: asking.cases

    @property
    def places(self) -> dict[str, float] | None:
        """The variants' `x`."""
        places = {v.label: v.x for v in self.variants if v.x is not None}
        return places if len(places) == len(self.variants) else None

    def measure(self, asking: Asking) -> list[Row]:
        """All variants' rows."""
        cases = list(self.people(asking))
        tasks = asking.tasks(cases)
        asked_for = {task.case.user: task.subject for task in tasks}
        plain = asking.paint(PROMPT, asking.prompt(), tasks)
        worth: dict[str, np.ndarray] = {}
        rows: list[Row] = []
        for variant in self.variants:
            changed = [variant.shows(case, asked_for[case.user]) for case in cases] if variant.shows else cases
            asked = [replace(task, case=changed[task.case.user]) for task in tasks]
            try:
                method = variant.paints(asking) if variant.paints else asking.ours()
            except NotRun as reason:
                rows.append(not_run(variant.label, f"{reason}@{self.name}"))
                continue
            usual = variant.shows is None and variant.paints is None
            name = OURS if usual else f"{self.name}.{variant.label}".replace(" ", "_").replace("/", "_")
            results = asking.results(changed, asked, {PROMPT: plain, OURS: asking.paint(name, method, asked)})
            rows += [_renamed(r, variant.label, self.name) for r in figures_of(results)]
            worth[variant.label] = results.by_user(results.utility(OURS).total)
        for label, theirs in worth.items():
            if label != self.reference and self.reference in worth:
                estimate = difference_interval(theirs, worth[self.reference])
                rows.append(row(label, f"above:{self.reference}@{self.name}", estimate))
        return rows


def _renamed(of: Row, label: str, question: str) -> Row:
    return replace(of, method=label, metric=f"{of.metric}@{question}")


def figures_of(results: Results) -> list[Row]:
    """What a variant is worth beside the prompt alone."""
    tastes = {"over_prompt": "total", "over_prompt_worded": "worded", "over_prompt_wordless": "wordless"}
    rows = [row(OURS, name, over_prompt(results, taste)) for name, taste in tastes.items()]
    hits, plain = (results.by_user(subject_hits(results, m)) for m in (OURS, PROMPT))
    rows.append(row(OURS, "subject_accuracy_of_prompt", ratio_interval(hits, plain)))
    return [*rows, row(OURS, "disliked_shown", mean_interval(results.by_user(disliked_shown(results))))]


def over_prompt(results: Results, taste: str) -> Estimate:
    """Utility less that of the prompt alone, the mean over people."""
    ours, plain = (results.by_user(getattr(results.utility(m), taste)) for m in (OURS, PROMPT))
    return difference_interval(ours, plain)


def disliked_shown(results: Results) -> np.ndarray:
    """float [n_tasks]: how much of the words that the ruling taste dislikes a picture shows; nan where it dislikes
    none."""
    reading, shown = results.readings[OURS], np.full(len(results.tasks), np.nan)
    for place, task in enumerate(results.tasks):
        dislikes = ruling_taste(task).dislikes
        seen = [reading.rows([place]).probability(family, list(values))[0] for family, values in dislikes.items()]
        if seen:
            shown[place] = float(np.mean(seen))
    return shown
