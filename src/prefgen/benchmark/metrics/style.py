"""Style likeness to the person, blind to subject and setting.

After CSD (arXiv 2404.01292: cosines of a descriptor that keeps style and drops content). Ours is no CSD: the descriptor
is the part of the judge's features that its heads for worded values, look and traits read, less all that its heads for
subject and setting read. No method was trained against the judge. PrefDisc counts who comes first by the judge's
answers; this says by how much, before any answer is given.
"""

from __future__ import annotations

from prefgen.benchmark.likeness import likeness_rows
from prefgen.benchmark.metrics.prefdisc import DISLIKED, LIKED
from prefgen.benchmark.results import Results, Row


class Style:
    """`style_judge_features` to held-out likes, `…_liked_minus_disliked`, of the latter ours `_above:` each rival."""

    name = "style_judge_features"

    def measure(self, results: Results) -> list[Row]:
        """Rows where held-out pictures were read."""
        if LIKED not in results.extra_readings:
            return []
        seen = {**results.readings, **{side: results.extra_readings[side] for side in (LIKED, DISLIKED)}}
        return likeness_rows(results, self.name, {name: reading.style for name, reading in seen.items()})
