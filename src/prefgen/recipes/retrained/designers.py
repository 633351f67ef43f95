"""People who judge designers' pictures: emoji of named concepts, each in several vendors' styles.

Nothing that is shipped is trained on them. They serve one question: what would real pictures in the training data do?
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from prefgen.core import InputError, seed_of
from prefgen.mllm import Told

Kind = Literal["style", "subject", "picks"]
"""A taste in vendors' styles, one in groups of concepts, or one in styles told by pairs of the same concept, as
Pick-a-Pic (arXiv 2305.01569) has two pictures for each prompt."""
NO_GROUP = "Component"


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """`rows[vendor][concept]` is the picture's place in `images`, uint8 [n, 64, 64, 3]; `groups` by concept."""

    images: np.ndarray
    rows: dict[str, dict[str, int]]
    groups: dict[str, str]

    @property
    def vendors(self) -> tuple[str, ...]:
        """Names of the styles."""
        return tuple(sorted(self.rows))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A history whose pictures are places in the gallery, and the places asked about: liked, disliked, liked, …"""

    items: tuple[Told, ...]
    asked: tuple[int, ...]


def read_gallery(folder: Path) -> Gallery:
    """Reads `emoji64.npz` and `emoji64.csv`.

    Raises:
        InputError: they are not there.
    """
    if not (folder / "emoji64.npz").is_file() or not (folder / "emoji64.csv").is_file():
        raise InputError(f"expected emoji64.npz and emoji64.csv in {folder}, got neither", hint="give --data")
    rows: dict[str, dict[str, int]] = {}
    groups: dict[str, str] = {}
    with (folder / "emoji64.csv").open(newline="") as lines:
        for line in csv.DictReader(lines):
            rows.setdefault(line["style"], {})[line["name"]] = int(line["row"])
            groups[line["name"]] = line["group"]
    images = np.load(folder / "emoji64.npz", allow_pickle=False)["images"]
    return Gallery(images=images, rows=rows, groups=groups)


def vendors_of_fold(vendors: tuple[str, ...], fold: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two vendors to train on and the others to test on; folds go round so that each pair is tested."""
    partner = 1 + fold % (len(vendors) - 1)
    train = (vendors[0], vendors[partner])
    rest = tuple(v for v in vendors if v not in train)
    return (train, rest) if fold % 2 == 0 else (rest, train)


def is_held_out(concept: str) -> bool:
    """Half of the concepts are only ever tested on."""
    return seed_of("designers' concept", concept) % 2 == 0


def judged_by(
    rng: np.random.Generator,
    gallery: Gallery,
    kind: Kind,
    vendors: tuple[str, ...],
    *,
    held_out: bool,
    n_each: int = 4,
    n_asked: int = 2,
) -> Judged:
    """One person's `n_each` liked and disliked pictures by `vendors`, and `n_asked` pairs of concepts not shown."""
    common = sorted(set.intersection(*(set(gallery.rows[v]) for v in vendors)))
    concepts = [str(c) for c in rng.permutation([c for c in common if is_held_out(c) == held_out])]
    n = n_each + n_asked
    if kind == "subject":
        liked, disliked = _by_groups(rng, gallery, concepts, vendors, n)
    else:
        likes, dislikes = (str(v) for v in rng.permutation(vendors)[:2])
        liked = [gallery.rows[likes][c] for c in concepts[:n]]
        others = concepts[:n] if kind == "picks" else [*concepts[n : n + n_each], *concepts[n_each:n]]
        disliked = [gallery.rows[dislikes][c] for c in others]
    shown = [
        *(Told(picture=place, side="like") for place in liked[:n_each]),
        *(Told(picture=place, side="dislike") for place in disliked[:n_each]),
    ]
    asked = [place for pair in zip(liked[n_each:], disliked[n_each:]) for place in pair]
    return Judged(items=tuple(shown), asked=tuple(asked))


def _by_groups(
    rng: np.random.Generator, gallery: Gallery, concepts: list[str], vendors: tuple[str, ...], n: int
) -> tuple[list[int], list[int]]:
    """`n` pictures from one or two groups that somebody likes, and as many from one or two others, by any vendor."""
    names = [str(g) for g in rng.permutation(sorted({gallery.groups[c] for c in concepts} - {NO_GROUP}))]
    first, second = (int(k) for k in rng.integers(1, 3, 2))
    sides = (names[:first], names[first : first + second])

    def pictures(groups: list[str]) -> list[int]:
        of = [c for c in concepts if gallery.groups[c] in groups][:n]
        return [gallery.rows[str(rng.choice(vendors))][c] for c in of]

    return pictures(sides[0]), pictures(sides[1])
