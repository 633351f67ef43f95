"""CMMD: how far a method's pictures lie from what people like, seen by the model's own CLIP.

Jayasumana et al., arXiv 2401.09603: MMD² with a Gaussian kernel of bandwidth 10 on unit CLIP picture embeddings, times
1000; their equation 4, unbiased (their published code averages the diagonal in, which is never below 0). The tower is
the one this model and its rivals hear likes through, so methods that repeat an embedding are flattered: read it beside
`kid_judge_features`. The painter's own row, and not 0, is what a perfect method would reach.
"""

from __future__ import annotations

from torch import Tensor

from prefgen.alignment import gaussian_kernel
from prefgen.benchmark.distance import pairs_of_people
from prefgen.benchmark.metrics.prefdisc import LIKED
from prefgen.benchmark.results import Results, Row, row
from prefgen.benchmark.statistics import pairs_interval
from prefgen.benchmark.tasks import mask_of

BANDWIDTH, SCALE = 10.0, 1000.0


def cmmd_kernel(x: Tensor, y: Tensor) -> Tensor:
    """The kernel [n, m] of unit embeddings [n, d] and [m, d], times 1000."""
    return SCALE * gaussian_kernel(x, y, BANDWIDTH)


class Cmmd:
    """`cmmd_clip_of_the_model`; the less the better, and slightly below 0 by chance."""

    name = "cmmd_clip_of_the_model"

    def measure(self, results: Results) -> list[Row]:
        """Rows where there is a model to look and held-out pictures to look at."""
        if results.bench is None or LIKED not in results.extra_pictures:
            return []
        asked = mask_of(results.tasks, "ordinary")
        liked, owners = results.clip(LIKED)[asked], results.owners[asked]
        return [
            row(m, self.name, pairs_interval(pairs_of_people(cmmd_kernel, results.clip(m)[asked], liked, owners)))
            for m in results.methods
        ]
