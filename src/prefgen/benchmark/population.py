"""The people of the benchmark: a committed file, made once by `make_population`.

Shares are exact, not drawn: kinds, people from clusters that nothing trained on (test split only), and flipped labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prefgen.agents import Dials, Person, Shown, history_of, new_person
from prefgen.agents.people import FIRST_UNSEEN_CLUSTER, N_CLUSTERS, from_json, opposite, to_json
from prefgen.core import DataError, numpy_rng

Split = Literal["validation", "test"]
SPLITS: tuple[Split, ...] = ("validation", "test")
POPULATION_PATH = Path(__file__).with_name("population.json")
N_PEOPLE = 96
UNSEEN_SHARE = 0.3
N_SHOWN = 4
"""Everyone's history holds at least this many pictures labelled as liked, and as many as disliked."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One person of the benchmark. `flipped` are the places in the history whose label is wrong."""

    person: Person
    split: Split
    flipped: tuple[int, ...] = ()

    @property
    def unseen_cluster(self) -> bool:
        """Whether the person comes from a cluster that nothing was trained on."""
        return self.person.cluster >= FIRST_UNSEEN_CLUSTER

    def history(self) -> tuple[Shown, ...]:
        """All pictures this person has labelled, in time order."""
        true = history_of(replace(self.person, flipped=0.0), seed_class=self.split)
        wrong = set(self.flipped)
        return tuple(replace(s, liked=s.truly_liked != (i in wrong)) for i, s in enumerate(true))


def _quotas(dials: Dials, n: int) -> dict[str, int]:
    shares = {"two_mode": dials.two_mode, "drifting": dials.drifting, "subject_dependent": dials.subject_dependent}
    counts = {kind: round(n * share) for kind, share in shares.items()}
    return counts | {"plain": n - sum(counts.values())}


def _people(split: Split, n: int, dials: Dials) -> list[Person]:
    """People by quota of kind and cluster group, both spread evenly over each other."""
    kinds = [kind for kind, count in _quotas(dials, n).items() for _ in range(count)]
    n_unseen = round(n * UNSEEN_SHARE) if split == "test" else 0
    unseen = np.zeros(n, bool)
    unseen[np.linspace(0, n - 1, n_unseen).round().astype(int)] = True
    people, number = [], 0
    for kind, is_unseen in zip(kinds, unseen):
        while True:
            identity = f"bench-{split}-{number}"
            low, high = (FIRST_UNSEEN_CLUSTER, N_CLUSTERS) if is_unseen else (0, FIRST_UNSEEN_CLUSTER)
            person = new_person(identity, int(numpy_rng("cluster of", identity).integers(low, high)), dials)
            number += 1
            if person.kind == kind:
                people.append(person)
                break
    return people


def _flips(people: list[Person], split: Split, share: float) -> list[tuple[int, ...]]:
    """Exactly `share` of all labels, drawn at random but where someone would keep fewer than `N_SHOWN` of a side."""
    sides = [[s.truly_liked for s in Member(person=p, split=split).history()] for p in people]
    places = [(i, j) for i, labels in enumerate(sides) for j in range(len(labels))]
    n_left = round(share * len(places))
    chosen: list[set[int]] = [set() for _ in people]
    for k in numpy_rng("flipped labels", split).permutation(len(places)):
        i, j = places[k]
        counts = [sum((s != (q in chosen[i] | {j})) == side for q, s in enumerate(sides[i])) for side in (True, False)]
        if n_left and min(counts) >= N_SHOWN:
            chosen[i].add(j)
            n_left -= 1
    return [tuple(sorted(c)) for c in chosen]


def _interleaved(members: list[Member]) -> list[Member]:
    """So ordered that every first part of the list has about the shares of the whole."""
    groups: dict[tuple[str, bool], list[Member]] = {}
    for member in members:
        groups.setdefault((member.person.kind, member.unseen_cluster), []).append(member)
    ranked = [((i + 0.5) / len(group), key, m) for key, group in groups.items() for i, m in enumerate(group)]
    return [m for *_, m in sorted(ranked, key=lambda r: r[:2])]


def make_population(n_people: int = N_PEOPLE, dials: Dials | None = None) -> dict[Split, tuple[Member, ...]]:
    """Both splits' people: a pure function of size and dials."""
    dials = dials or Dials()
    made: dict[Split, tuple[Member, ...]] = {}
    for split in SPLITS:
        people = _people(split, n_people, dials)
        flips = _flips(people, split, dials.flipped)
        made[split] = tuple(_interleaved([Member(person=p, split=split, flipped=f) for p, f in zip(people, flips)]))
    return made


def mirrored_share(members: tuple[Member, ...]) -> float:
    """The share of dislikes that are the mirror of a like of the same taste."""
    tastes = [t for m in members for t in m.person.tastes]
    mirrored = [
        any(value == opposite(family, good) for good in taste.likes.get(family, ()))
        for taste in tastes
        for family, values in taste.dislikes.items()
        for value in values
    ]
    return float(np.mean(mirrored)) if mirrored else 0.0


def population_to_json(population: Mapping[Split, tuple[Member, ...]]) -> dict[str, Any]:
    """Both splits as plain JSON."""
    return {
        split: [{"flipped": list(m.flipped), "person": to_json(m.person)} for m in members]
        for split, members in population.items()
    }


def population_from_json(value: Mapping[str, Any]) -> dict[Split, tuple[Member, ...]]:
    """The inverse of `population_to_json`."""
    try:
        return {
            split: tuple(
                Member(person=from_json(m["person"]), split=split, flipped=tuple(m["flipped"])) for m in value[split]
            )
            for split in SPLITS
        }
    except (KeyError, TypeError) as error:
        raise DataError(f"expected a population of {' and '.join(SPLITS)} people, got {error!r}") from error


def written(population: Mapping[Split, tuple[Member, ...]]) -> str:
    """The text of the committed file: one person a line."""
    plain = population_to_json(population)
    parts = [
        f' "{split}": [\n  ' + ",\n  ".join(json.dumps(m, ensure_ascii=False) for m in members) + "\n ]"
        for split, members in plain.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


@lru_cache(maxsize=2)
def members_of(split: Split, path: Path = POPULATION_PATH) -> tuple[Member, ...]:
    """The committed people of a split. The test split is for `bench` alone; choices are made on validation."""
    return population_from_json(json.loads(path.read_text()))[split]
