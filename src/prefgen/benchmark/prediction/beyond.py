"""Designers' pictures and real people to be predicted: the data of `ood`, asked as pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from prefgen.benchmark.ood import emoji_agent, pairs_among, read_emoji, read_ratings
from prefgen.benchmark.prediction.asked import N_REFERENCES, Asked, in_random_order
from prefgen.core import numpy_rng


def asked_of_emoji(folder: Path, n_agents: int, n_questions: int, seed: int = 0) -> list[Asked]:
    """Agents who like some styles and dislike others: a question shows one concept in a style of either side.

    There is no crowd: agents draw their styles evenly, so that others' choices would be chance by construction.
    """
    styles, n = read_emoji(folder), max(N_REFERENCES)
    asked = []
    for index in range(n_agents):
        pictures = emoji_agent(index, styles, seed, n_each=n, n_queries=n_questions)
        liked, disliked, queries = ([Image.fromarray(p) for p in side] for side in pictures[:3])
        order = numpy_rng("order of emoji questions", index, seed)
        questions, first = in_random_order(order, list(zip(queries[::2], queries[1::2])))
        references = list(zip(liked, disliked))
        asked.append(Asked(person=f"emoji-{index}", references=references, questions=questions, first_chosen=first))
    return asked


def share_rating_first_higher(others: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """float [n]: the share of people, rows of `others` [n_people, n_items], who rate the first of a pair higher; one
    half for ties and for pairs that nobody has rated."""
    shares = []
    for first, second in pairs:
        gaps = others[:, first] - others[:, second]
        votes = 0.5 + 0.5 * np.sign(gaps[np.isfinite(gaps)])
        shares.append(float(votes.mean()) if len(votes) else 0.5)
    return np.array(shares)


def asked_of_dogs(folder: Path, n_people: int | None, n_questions: int, seed: int = 0) -> list[Asked]:
    """Real people: half of the pictures each has rated are references, the best with the worst and so on inwards; up to
    `n_questions` pairs of the other half are asked about."""
    ratings, items = read_ratings(folder)
    pictures = [Image.open(folder / "images" / item).convert("RGB") for item in items]
    n, asked = max(N_REFERENCES), []
    for user in range(len(ratings) if n_people is None else min(n_people, len(ratings))):
        mine = ratings[user]
        rng = numpy_rng("dogs", user, seed)
        order = rng.permutation(np.flatnonzero(np.isfinite(mine)))
        shown, rest = order[: len(order) // 2], order[len(order) // 2 :]
        ranked = shown[np.argsort(mine[shown], kind="stable")]
        pairs = pairs_among(mine, rest)
        if len(ranked) < 2 * n or not pairs:
            continue
        drawn = [pairs[int(k)] for k in rng.permutation(len(pairs))[:n_questions]]
        turned = rng.random(len(drawn)) < 0.5
        places = [(a, b) if kept else (b, a) for (a, b), kept in zip(drawn, turned)]
        asked.append(
            Asked(
                person=f"dogs-{user}",
                references=[(pictures[a], pictures[b]) for a, b in zip(ranked[::-1][:n], ranked[:n])],
                questions=[(pictures[a], pictures[b]) for a, b in places],
                first_chosen=turned,
                crowd=share_rating_first_higher(np.delete(ratings, user, 0), places),
            )
        )
    return asked
