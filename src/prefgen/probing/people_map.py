"""People's embeddings as a map: t-SNE (van der Maaten and Hinton, JMLR 2008) of several histories of each person.

A map is to be looked at; no figure is read off it. What it shows is measured by the probes.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prefgen.core import InputError, PrefGenError

PERPLEXITY = 12.0
GOLDEN = 0.6180339887


def map_of_people(embeddings: np.ndarray, seed: int = 0) -> np.ndarray:
    """float [n, 2] places of embeddings [n, d], standardised first; deterministic for a seed.

    Raises:
        PrefGenError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise PrefGenError("a map needs scikit-learn", hint="pip install scikit-learn") from error
    if len(embeddings) < 4:
        raise InputError(f"expected at least 4 embeddings for a map, got {len(embeddings)}")
    spread = embeddings.std(0)
    known = (embeddings - embeddings.mean(0)) / np.where(spread > 0, spread, 1)
    perplexity = min(PERPLEXITY, (len(known) - 1) / 3)
    return TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(known)


def plot_people(parts: Mapping[str, np.ndarray], owners: Sequence[int], path: str | Path, seed: int = 0) -> Path:
    """Draws one map for each part of the embedding, [n, d]; histories of one of the `owners` share a colour and a line.

    Needs the `plot` extra, else a `PrefGenError`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PrefGenError("drawing needs matplotlib", hint="pip install 'prefgen[plot]'") from error
    people = sorted(set(owners))
    colours = [colorsys.hsv_to_rgb(k * GOLDEN % 1, 0.75, (0.9, 0.65)[k % 2]) for k in range(len(people))]
    figure = Figure(figsize=(4.2 * len(parts), 4.6), layout="constrained")
    for axes, (name, embeddings) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts.items()):
        places = map_of_people(embeddings, seed)
        for person, colour in zip(people, colours):
            own = places[np.asarray(owners) == person]
            middle = own.mean(0)
            for x, y in own:
                axes.plot([x, middle[0]], [y, middle[1]], color=colour, lw=0.6, alpha=0.5)
            axes.scatter(own[:, 0], own[:, 1], s=14, color=colour, linewidths=0)
        axes.set_title(name)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#c9d0d6")
    n_each = len(owners) / max(len(people), 1)
    figure.suptitle(
        f"{len(people)} people nobody trained on, {n_each:g} histories each: a colour is a person", fontsize=11
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
