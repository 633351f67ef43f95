"""Simulated people: what they like and dislike, in words and without, and the pictures they would choose.

The paper simulates users with about 50 attributes each; its reviewers fear that such agents are unnaturally
consistent. So these have clusters with overlap, dislikes that are not the mirror of likes, several tastes, taste that
depends on the subject, drift over time, and wrong answers; each is a dial of `Dials`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np

from prefgen.agents.scene import Scene, is_reserved, painter_seed
from prefgen.agents.subjects import SUBJECTS
from prefgen.agents.vocabulary import CONTINUOUS, FAMILIES, LOOKS, RESERVED_SUBJECTS, SETTINGS
from prefgen.core import numpy_rng

Kind = Literal["plain", "two_mode", "drifting", "subject_dependent"]
LIVING: frozenset[str] = frozenset(SUBJECTS[: SUBJECTS.index("house")])
"""Animals and plants; a subject-dependent person has one taste for these and another for things."""

N_CLUSTERS, FIRST_UNSEEN_CLUSTER = 48, 36
"""Clusters 36 to 47 are never trained on; 30 % of test users come from them."""


@dataclass(frozen=True, kw_only=True)
class Dials:
    """How unruly a population is. Rates are shares of people, or of dislikes (`mirrored`), or of labels (`flipped`)."""

    flipped: float = 0.10
    two_mode: float = 0.30
    drifting: float = 0.20
    subject_dependent: float = 0.10
    mirrored: float = 0.25
    from_cluster: float = 0.75
    n_likes: tuple[int, int] = (8, 14)
    n_dislikes: tuple[int, int] = (4, 10)


@dataclass(frozen=True, kw_only=True)
class Taste:
    """One taste. `likes` and `dislikes` map families to values; `traits` maps a wordless trait to
    (liked value, disliked value), each in [-1, 1]; a third of all opinions are wordless (looks and traits)."""

    likes: Mapping[str, tuple[str, ...]]
    dislikes: Mapping[str, tuple[str, ...]]
    looks_liked: tuple[str, ...]
    looks_disliked: tuple[str, ...]
    traits: Mapping[str, tuple[float, float]]

    def families(self) -> tuple[str, ...]:
        """The worded families with an opinion, in the vocabulary's order."""
        return tuple(f for f in FAMILIES if f in self.likes or f in self.dislikes)


@dataclass(frozen=True, kw_only=True)
class Person:
    """A simulated person. `tastes` holds one taste, or two for every kind but `plain`."""

    id: str
    cluster: int
    kind: Kind
    tastes: tuple[Taste, ...]
    flipped: float = 0.1
    n_likes: int = 8
    n_dislikes: int = 4
    turn: float = 0.5
    """For a drifting person: the moment in [0, 1] of the history at which the second taste takes over."""

    def taste_for(self, subject: str, time: float = 1.0, mode: int = 0) -> Taste:
        """The taste that rules a picture of `subject` at `time` in [0, 1]; `mode` picks one of a two-mode person's."""
        if self.kind == "two_mode":
            return self.tastes[mode % 2]
        if self.kind == "drifting":
            return self.tastes[0 if time < self.turn else 1]
        if self.kind == "subject_dependent":
            return self.tastes[0 if subject in LIVING else 1]
        return self.tastes[0]

    def current_tastes(self) -> tuple[Taste, ...]:
        """The tastes this person has now: both modes, or the later of a drifting person's."""
        return self.tastes[1:] if self.kind == "drifting" else self.tastes


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One labelled picture of a person's history: the scene, the label given (noisy) and the true one."""

    scene: Scene
    liked: bool
    truly_liked: bool
    time: float
    mode: int = 0


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What people of one cluster tend to: pools that their tastes are drawn from."""

    likes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dislikes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    looks: tuple[str, ...] = ()
    traits: Mapping[str, float] = field(default_factory=dict)


def opposite(family: str, value: str) -> str:
    """The value half-way round its family's list: what counts as the mirror of a like."""
    values = FAMILIES[family]
    return values[(values.index(value) + len(values) // 2) % len(values)]


def cluster_at(index: int) -> Cluster:
    """The pools of one cluster: a pure function of its index."""
    rng = numpy_rng("cluster", index)
    likes, dislikes = {}, {}
    for family, values in FAMILIES.items():
        order = [str(v) for v in rng.permutation(values)]
        likes[family], dislikes[family] = tuple(order[:3]), tuple(order[3:6])
    return Cluster(
        likes=likes,
        dislikes=dislikes,
        looks=tuple(str(v) for v in rng.permutation(LOOKS)[:4]),
        traits={t: float(rng.choice([-0.75, 0.75])) for t in CONTINUOUS},
    )


def _draw(
    rng: np.random.Generator, pool: tuple[str, ...], everything: tuple[str, ...], n: int, rate: float
) -> list[str]:
    drawn: list[str] = []
    while len(drawn) < n:
        source = pool if rng.random() < rate else everything
        value = str(rng.choice(source))
        if value not in drawn:
            drawn.append(value)
    return drawn


def new_taste(rng: np.random.Generator, cluster: Cluster, dials: Dials) -> Taste:
    """A taste near a cluster: 4 worded families with likes, 2 to 4 with dislikes, half as many wordless opinions."""
    liked_families = [str(f) for f in rng.permutation(list(FAMILIES))[:4]]
    likes = {
        f: tuple(_draw(rng, cluster.likes[f], FAMILIES[f], int(rng.choice([1, 2], p=[0.6, 0.4])), dials.from_cluster))
        for f in liked_families
    }
    dislikes: dict[str, tuple[str, ...]] = {}
    for f in [str(f) for f in rng.permutation(list(FAMILIES))[: int(rng.integers(2, 5))]]:
        if f in likes and rng.random() < dials.mirrored:
            drawn = [opposite(f, likes[f][0])]
        else:
            drawn = _draw(rng, cluster.dislikes[f], FAMILIES[f], 1, dials.from_cluster)
        free = tuple(v for v in drawn if v not in likes.get(f, ()))
        if free:
            dislikes[f] = free
    looks = _draw(rng, cluster.looks[:2], LOOKS, 1, dials.from_cluster)
    bad = [v for v in _draw(rng, cluster.looks[2:], LOOKS, 1, dials.from_cluster) if v not in looks]
    chosen = [str(t) for t in rng.permutation(CONTINUOUS)[: int(rng.integers(1, 3))]]
    traits = {}
    for t in chosen:
        side = np.sign(cluster.traits[t]) if rng.random() < dials.from_cluster else rng.choice([-1.0, 1.0])
        traits[t] = (float(side * rng.uniform(0.45, 0.95)), float(-side * rng.uniform(0.3, 0.95)))
    return Taste(likes=likes, dislikes=dislikes, looks_liked=tuple(looks), looks_disliked=tuple(bad), traits=traits)


def new_person(identity: str, cluster: int, dials: Dials | None = None) -> Person:
    """A person: a pure function of identity, cluster and dials."""
    dials = dials or Dials()
    rng = numpy_rng("person", identity, cluster)
    kinds: tuple[Kind, ...] = ("two_mode", "drifting", "subject_dependent", "plain")
    rates = [dials.two_mode, dials.drifting, dials.subject_dependent]
    kind = kinds[int(rng.choice(4, p=[*rates, 1 - sum(rates)]))]
    n_tastes = 1 if kind == "plain" else 2
    return Person(
        id=identity,
        cluster=cluster,
        kind=kind,
        tastes=tuple(new_taste(rng, cluster_at(cluster), dials) for _ in range(n_tastes)),
        flipped=dials.flipped,
        n_likes=int(rng.integers(dials.n_likes[0], dials.n_likes[1] + 1)),
        n_dislikes=int(rng.integers(dials.n_dislikes[0], dials.n_dislikes[1] + 1)),
        turn=float(rng.uniform(0.35, 0.65)),
    )


def training_person(index: int, split: str = "train", dials: Dials | None = None) -> Person:
    """The index-th person of a split; train and validation people come from the seen clusters only."""
    cluster = int(numpy_rng("cluster of", split, index).integers(FIRST_UNSEEN_CLUSTER))
    return new_person(f"{split}-{index}", cluster, dials)


def _value(rng: np.random.Generator, subject: str, values: tuple[str, ...], allow_reserved: bool) -> str | None:
    free = [v for v in values if allow_reserved or not is_reserved(subject, v)]
    return str(rng.choice(free)) if free else None


def _filler(rng: np.random.Generator, taste: Taste, family: str) -> tuple[str, ...]:
    settled = {*taste.likes.get(family, ()), *taste.dislikes.get(family, ())}
    return tuple(v for v in FAMILIES[family] if v not in settled)


def rendering(
    rng: np.random.Generator,
    taste: Taste,
    subject: str,
    setting: str | None,
    *,
    liked: bool,
    seed_class: str,
    allow_reserved: bool = False,
) -> Scene:
    """A picture that this taste likes (or dislikes) of a given prompt.

    Each opinion of that side shows with probability 0.8; some families without an opinion carry a random value.
    """
    opinions = taste.likes if liked else taste.dislikes
    values: dict[str, str] = {}
    for family in rng.permutation(list(FAMILIES)):
        family = str(family)
        if family in opinions and rng.random() < 0.8:
            picked = _value(rng, subject, opinions[family], allow_reserved)
        elif rng.random() < 0.22:
            picked = _value(rng, subject, _filler(rng, taste, family), allow_reserved)
        else:
            picked = None
        if picked is not None:
            values[family] = picked
    looks = taste.looks_liked if liked else taste.looks_disliked
    look = str(rng.choice(looks)) if looks and rng.random() < 0.8 else None
    if look is None and rng.random() < 0.15:
        look = str(rng.choice([v for v in LOOKS if v not in (*taste.looks_liked, *taste.looks_disliked)]))
    continuous = {t: float(rng.uniform(-1, 1)) for t in CONTINUOUS}
    for trait, (good, bad) in taste.traits.items():
        continuous[trait] = float(np.clip((good if liked else bad) + rng.normal(0, 0.12), -1, 1))
    return Scene(
        subject=subject,
        setting=setting,
        values=values,
        look=look,
        continuous=continuous,
        seed=painter_seed(rng, seed_class),
    )


def random_prompt(rng: np.random.Generator, *, with_reserved: bool = False) -> tuple[str, str | None]:
    """A subject and perhaps a setting; reserved subjects only when asked for."""
    names = [s for s in SUBJECTS if with_reserved or s not in RESERVED_SUBJECTS]
    return str(rng.choice(names)), (str(rng.choice(SETTINGS)) if rng.random() < 0.7 else None)


def history_of(
    person: Person, *, seed_class: str, tag: str = "", subjects: tuple[str, ...] | None = None
) -> tuple[Shown, ...]:
    """A person's labelled history in time order: pairs from one prompt each, one side kept or both, 10 % mislabelled.

    No prompt appears twice. `tag` draws another, independent history of the same person.
    """
    rng = numpy_rng("history", person.id, tag)
    names = [str(s) for s in rng.permutation(subjects or [s for s in SUBJECTS if s not in RESERVED_SUBJECTS])]
    n_pairs = max(person.n_likes, person.n_dislikes)
    pick = numpy_rng("history sides", person.id, tag)
    kept = {
        True: set(pick.permutation(n_pairs)[: person.n_likes]),
        False: set(pick.permutation(n_pairs)[: person.n_dislikes]),
    }
    shown: list[Shown] = []
    for i in range(n_pairs):
        subject, time = names[i % len(names)], i / max(n_pairs - 1, 1)
        setting = str(rng.choice(SETTINGS)) if rng.random() < 0.7 else None
        mode = int(rng.integers(2))
        taste = person.taste_for(subject, time, mode)
        for liked in (True, False):
            scene = rendering(rng, taste, subject, setting, liked=liked, seed_class=seed_class)
            label = liked != bool(rng.random() < person.flipped)
            if i in kept[liked]:
                shown.append(Shown(scene=scene, liked=label, truly_liked=liked, time=time, mode=mode))
    return tuple(shown)


def attribute_string(person: Person, *, liked: bool = True) -> str:
    """A person's attributes as one comma-separated text ("gold, pop art, …"), the target of the alignment."""
    seen: dict[str, None] = {}
    for taste in person.current_tastes():
        for values in (taste.likes if liked else taste.dislikes).values():
            seen.update(dict.fromkeys(values))
    return ", ".join(seen)


def to_json(person: Person) -> dict[str, Any]:
    """A person as plain JSON."""
    return asdict(person)


def from_json(value: Mapping[str, Any]) -> Person:
    """The inverse of `to_json`."""
    tastes = tuple(
        Taste(
            likes={f: tuple(v) for f, v in t["likes"].items()},
            dislikes={f: tuple(v) for f, v in t["dislikes"].items()},
            looks_liked=tuple(t["looks_liked"]),
            looks_disliked=tuple(t["looks_disliked"]),
            traits={k: (float(v[0]), float(v[1])) for k, v in t["traits"].items()},
        )
        for t in value["tastes"]
    )
    known = {f.name for f in fields(Person)}
    return Person(**{**{k: v for k, v in value.items() if k in known}, "tastes": tastes})
