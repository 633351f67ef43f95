"""Whether the model knows what a person likes: yes or no about pictures it has never seen, labels without noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefgen.benchmark.chain import Chain
from prefgen.benchmark.queries import QueryKind, QueryPair, queries_of
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import calibration_interval, mean_interval
from prefgen.benchmark.tasks import Case, Shelf
from prefgen.core import History

KINDS: tuple[QueryKind, ...] = ("everything", "one_attribute")


def likings(chain: Chain, shelf: Shelf, pairs: Sequence[QueryPair]) -> np.ndarray:
    """float [n, 2]: P(liked) of the liked and of the disliked picture of each pair, for the shelf's owner."""
    profile = chain.profile(liked=shelf.liked, disliked=shelf.disliked)
    pictures = [p for pair in pairs for p in pair.pictures()]
    return np.asarray(chain.score(profile, pictures), dtype=np.float64).reshape(len(pairs), 2)


def likings_of_nobody(chain: Chain, pairs: Sequence[QueryPair]) -> np.ndarray:
    """The same of somebody nothing is known of."""
    pictures = [p for pair in pairs for p in pair.pictures()]
    return np.asarray(chain.score_history(History(items=()), pictures), dtype=np.float64).reshape(len(pairs), 2)


def accuracy(likings: np.ndarray) -> np.ndarray:
    """Yes/no accuracy over the last two axes: yes above one half, and one half itself counts half."""
    right = np.stack([likings[..., 0] - 0.5, 0.5 - likings[..., 1]], -1)
    return np.where(right == 0, 0.5, right > 0).mean((-1, -2))


class YesNo:
    """`yes_no_accuracy` and `which_of_two` on pairs differing in `everything` and in `one_attribute`;
    `calibration_error` over both; accuracy with another person's history, with none, and (`own_true_labels`) with the
    own history as the person meant it, without the wrong labels that a tenth of it carries.
    """

    name = "yes_no"

    def measure(self, results: Results) -> list[Row]:
        """Rows of the model itself."""
        if results.bench is None:
            return []
        chain, n = results.bench.chain, 2 if results.quick else 8
        rows, whole = [], []
        for kind in KINDS:
            asked = [queries_of(c, kind, n, results.seed) for c in results.cases]
            own = np.stack([likings(chain, c.shelf, q) for c, q in zip(results.cases, asked)])
            whole.append(own)
            ordered = np.where(own[..., 0] == own[..., 1], 0.5, own[..., 0] > own[..., 1])
            rows.append(row("prefgen", f"yes_no_accuracy_{kind}", mean_interval(accuracy(own))))
            rows.append(row("prefgen", f"which_of_two_{kind}", mean_interval(ordered.mean(1))))
            meant = np.stack([likings(chain, c.shelf.as_meant(), q) for c, q in zip(results.cases, asked)])
            rows.append(row("own_true_labels", f"yes_no_accuracy_{kind}", mean_interval(accuracy(meant))))
            if kind == "everything":
                rows += self._controls(chain, results.cases, asked)
        both = np.concatenate(whole, 1)
        p = both.reshape(len(both), -1)
        labels = np.broadcast_to([1.0, 0.0], both.shape).reshape(p.shape)
        rows.append(row("prefgen", "calibration_error", calibration_interval(p, labels)))
        return rows

    def _controls(self, chain: Chain, cases: Sequence[Case], asked: Sequence[Sequence[QueryPair]]) -> list[Row]:
        stranger = np.stack([likings(chain, c.stranger, q) for c, q in zip(cases, asked)])
        rows = [row("other_user", "yes_no_accuracy_everything", mean_interval(accuracy(stranger)))]
        none = np.stack([likings_of_nobody(chain, q) for q in asked])
        return [*rows, row("no_history", "yes_no_accuracy_everything", mean_interval(accuracy(none)))]
