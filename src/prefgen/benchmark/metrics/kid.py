"""KID: how far a method's pictures lie from what people like, seen by the judge's features.

Kernel inception distance (Binkowski et al., arXiv 1801.01401): unbiased MMD² with the kernel `(x·y / d + 1)³`. The
features are the judge's, not Inception's, hence the name: figures compare methods of one run, never papers. The other
side are the held-out liked pictures of the same people, of other prompts than the method's; so the painter's own row,
and not 0, is what a perfect method would reach.
"""

from __future__ import annotations

from prefgen.alignment import polynomial_kernel
from prefgen.benchmark.distance import pairs_of_people
from prefgen.benchmark.metrics.prefdisc import LIKED
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import pairs_interval
from prefgen.benchmark.tasks import mask_of


class Kid:
    """`kid_judge_features`; the less the better, and slightly below 0 by chance."""

    name = "kid_judge_features"

    def measure(self, results: Results) -> list[Row]:
        """Rows where held-out pictures were read."""
        if LIKED not in results.extra_readings:
            return []
        asked, liked = mask_of(results.tasks, "ordinary"), results.extra_readings[LIKED].features
        owners = results.owners[asked]
        rows = []
        for method in results.methods:
            made = results.readings[method].features
            pairs = pairs_of_people(polynomial_kernel, made[asked], liked[asked], owners)
            rows.append(row(method, self.name, pairs_interval(pairs)))
        return rows
