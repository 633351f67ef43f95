"""Beyond the painter: designers' pictures and real people, reported as they come and never tuned to.

The data is not part of this package: `emoji64.npz` and `emoji64.csv` (named concepts in several vendors' styles), and
`ratings.csv` with `images/` (people rating morphed dogs). Where a folder is absent its rows say so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from prefgen.benchmark.chain import Chain
from prefgen.benchmark.results import Row, row
from prefgen.benchmark.statistics import mean_interval
from prefgen.core import numpy_rng

N_EMOJI_AGENTS, N_EACH, N_QUERIES = 200, 4, 2
LEAST_DIFFERENCE = 0.1
"""Dog pairs whose ratings lie nearer than this are not asked about."""


def not_run(method: str, reason: str) -> Row:
    """The row that stands for figures that were not taken: it never holds a number."""
    return Row(method=method, metric=f"not run here, {reason}", value=float("nan"))


def right_halves(likings: np.ndarray, labels: np.ndarray, middle: float = 0.5) -> float:
    """Share of yes/no answers that are right; an answer exactly at the middle counts half."""
    signs = np.sign(np.asarray(likings) - middle) * np.where(labels, 1, -1)
    return float(np.mean((signs + 1) / 2))


def read_emoji(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """style -> concept -> uint8 [64, 64, 3]."""
    images = np.load(folder / "emoji64.npz", allow_pickle=False)["images"]
    styles: dict[str, dict[str, np.ndarray]] = {}
    with (folder / "emoji64.csv").open(newline="") as lines:
        for line in csv.DictReader(lines):
            styles.setdefault(line["style"], {})[line["name"]] = images[int(line["row"])]
    return styles


def emoji_agent(
    index: int,
    styles: dict[str, dict[str, np.ndarray]],
    seed: int = 0,
    *,
    n_each: int = N_EACH,
    n_queries: int = N_QUERIES,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], np.ndarray]:
    """An agent who likes one or two styles and dislikes one or two others: `n_each` liked and disliked pictures, each
    of a concept of its own, and balanced queries (pictures, labels: a liked, a disliked one of each concept) about
    `n_queries` concepts not shown."""
    rng = numpy_rng("emoji agent", index, seed)
    names = [str(s) for s in rng.permutation(sorted(styles))]
    n_liked, n_disliked = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    sides = (names[:n_liked], names[n_liked : n_liked + n_disliked])
    common = sorted(set.intersection(*(set(styles[s]) for s in (*sides[0], *sides[1]))))
    concepts = [str(c) for c in rng.permutation(common)[: 2 * n_each + n_queries]]

    def picture(side: list[str], concept: str) -> np.ndarray:
        return styles[str(rng.choice(side))][concept]

    liked = [picture(sides[0], c) for c in concepts[:n_each]]
    disliked = [picture(sides[1], c) for c in concepts[n_each : 2 * n_each]]
    asked = [picture(side, c) for c in concepts[2 * n_each :] for side in sides]
    return liked, disliked, asked, np.tile([True, False], len(asked) // 2)


def by_raw_pixels(liked: list[np.ndarray], disliked: list[np.ndarray], asked: list[np.ndarray]) -> np.ndarray:
    """P(like) by logistic regression on the raw pixels of the handed pictures."""
    from sklearn.linear_model import LogisticRegression

    x = np.stack([*liked, *disliked]).reshape(len(liked) + len(disliked), -1) / 255
    y = np.repeat([1, 0], [len(liked), len(disliked)])
    model = LogisticRegression(max_iter=1000).fit(x, y)
    return model.predict_proba(np.stack(asked).reshape(len(asked), -1) / 255)[:, 1]


def _pil(pictures: Iterable[np.ndarray]) -> list[Image.Image]:
    return [Image.fromarray(p) for p in pictures]


def emoji_rows(chain: Chain, folder: Path | None, n_agents: int = N_EMOJI_AGENTS, seed: int = 0) -> list[Row]:
    """`emoji_yes_no_accuracy` of the model and of raw pixels with logistic regression."""
    if folder is None or not (folder / "emoji64.npz").exists():
        return [not_run("emoji", "because the emoji pictures are not there (give --data)")]
    styles = read_emoji(folder)
    ours, pixels = [], []
    for index in range(n_agents):
        liked, disliked, asked, labels = emoji_agent(index, styles, seed)
        profile = chain.profile(liked=_pil(liked), disliked=_pil(disliked))
        ours.append(right_halves(np.asarray(chain.score(profile, _pil(asked))), labels))
        pixels.append(right_halves(by_raw_pixels(liked, disliked, asked), labels))
    metric = "emoji_yes_no_accuracy"
    return [
        row("prefgen", metric, mean_interval(np.array(ours))),
        row("raw_pixels_logistic", metric, mean_interval(np.array(pixels))),
    ]


def read_ratings(folder: Path) -> tuple[np.ndarray, list[str]]:
    """float [n_people, n_items], the mean of a person's two ratings of each picture (nan without), and item names."""
    with (folder / "ratings.csv").open(newline="") as lines:
        entries = [(e["user"], e["item"], float(e["score"])) for e in csv.DictReader(lines)]
    users, items = sorted({e[0] for e in entries}), sorted({e[1] for e in entries})
    sums, counts = np.zeros((len(users), len(items))), np.zeros((len(users), len(items)))
    place_u, place_i = {u: k for k, u in enumerate(users)}, {v: k for k, v in enumerate(items)}
    for user, item, score in entries:
        sums[place_u[user], place_i[item]] += score
        counts[place_u[user], place_i[item]] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), items


def pairs_among(ratings: np.ndarray, places: np.ndarray) -> list[tuple[int, int]]:
    """(better, worse) among some pictures, for one person's ratings."""
    return [(int(a), int(b)) for a in places for b in places if ratings[a] - ratings[b] >= LEAST_DIFFERENCE]


def pair_accuracy(likings: np.ndarray, pairs: list[tuple[int, int]]) -> float:
    """Share of pairs that are ordered rightly, ties one half; nan without pairs."""
    if not pairs:
        return float("nan")
    return float(np.mean([0.5 + 0.5 * np.sign(likings[a] - likings[b]) for a, b in pairs]))


def dog_rows(chain: Chain, folder: Path | None, n_people: int | None = None, seed: int = 0) -> list[Row]:
    """`dogs_pair_accuracy` of the model, of the crowd (the mean of the others' ratings), and of chance.

    Each person's pictures are halved at random: the four best and four worst of one half are shown, pairs of the other
    half are asked about.
    """
    if folder is None or not (folder / "ratings.csv").exists():
        return [not_run("dogs", "because the ratings are not there (give --data)")]
    ratings, items = read_ratings(folder)
    pictures = [Image.open(folder / "images" / item).convert("RGB") for item in items]
    ours, crowd = [], []
    for user in range(len(ratings) if n_people is None else min(n_people, len(ratings))):
        mine, others = ratings[user], np.nanmean(np.delete(ratings, user, 0), axis=0)
        known = np.flatnonzero(np.isfinite(mine))
        order = numpy_rng("dogs", user, seed).permutation(known)
        shown, asked = order[: len(order) // 2], order[len(order) // 2 :]
        ranked = shown[np.argsort(mine[shown], kind="stable")]
        profile = chain.profile(
            liked=[pictures[i] for i in ranked[::-1][:N_EACH]], disliked=[pictures[i] for i in ranked[:N_EACH]]
        )
        likings = np.full(len(items), np.nan)
        likings[asked] = chain.score(profile, [pictures[i] for i in asked])
        pairs = pairs_among(mine, asked)
        ours.append(pair_accuracy(likings, pairs))
        crowd.append(pair_accuracy(others, pairs))
    metric = "dogs_pair_accuracy"
    return [
        row("prefgen", metric, mean_interval(np.array(ours))),
        row("crowd", metric, mean_interval(np.array(crowd))),
        Row(method="chance", metric=metric, value=0.5, low=0.5, high=0.5, n=len(ours)),
    ]


def out_of_distribution_rows(chain: Chain, data: Path | None, *, quick: bool = False, seed: int = 0) -> list[Row]:
    """Both data sets' rows; `data` is the folder that holds `emoji/` and `dogs/`."""
    emoji, dogs = (None, None) if data is None else (data / "emoji", data / "dogs")
    return [
        *emoji_rows(chain, emoji, 40 if quick else N_EMOJI_AGENTS, seed),
        *dog_rows(chain, dogs, 20 if quick else None, seed),
    ]
