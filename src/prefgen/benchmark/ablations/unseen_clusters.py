"""Are people understood who are unlike anyone trained on?"""

from __future__ import annotations

from dataclasses import replace

from prefgen.benchmark.ablations.asking import OURS, PROMPT, Asking, figures_of
from prefgen.benchmark.results import Row


class UnseenClusters:
    """`Sweep`'s figures, for people of clusters that training met and of those it never met."""

    name = "unseen_clusters"
    title = "Are people understood who are unlike anyone trained on?"
    places = None

    def measure(self, asking: Asking) -> list[Row]:
        """Rows of both groups."""
        rows: list[Row] = []
        tasks = asking.tasks(asking.cases)
        pictures = {
            PROMPT: asking.paint(PROMPT, asking.prompt(), tasks),
            OURS: asking.paint(OURS, asking.ours(), tasks),
        }
        for label, unseen in (("clusters trained on", False), ("clusters never met", True)):
            cases = [c for c in asking.cases if c.member.unseen_cluster == unseen]
            number = {c.user: k for k, c in enumerate(cases)}
            places = [i for i, t in enumerate(tasks) if t.case.user in number]
            kept = [replace(tasks[i], case=replace(tasks[i].case, user=number[tasks[i].case.user])) for i in places]
            people = [replace(c, user=number[c.user]) for c in cases]
            if people:
                results = asking.results(people, kept, {name: made[places] for name, made in pictures.items()})
                rows += [replace(r, method=label, metric=f"{r.metric}@{self.name}") for r in figures_of(results)]
        return rows
