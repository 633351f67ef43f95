"""CLIP-I to the person: how like their held-out liked pictures a method's pictures look to the model's own CLIP.

CLIP-I as in DreamBooth (arXiv 2208.12242): the mean cosine of CLIP picture embeddings. The tower is the one this model
and its rivals hear likes through, hence the name, and methods that repeat an embedding are flattered; the style figure
beside it sees through a judge that nothing was trained against.
"""

from __future__ import annotations

from prefgen.benchmark.likeness import likeness_rows
from prefgen.benchmark.metrics.prefdisc import DISLIKED, LIKED
from prefgen.benchmark.results import Results, Row


class ClipI:
    """`clip_i_of_the_model` to held-out likes, `…_liked_minus_disliked`, of the latter ours `_above:` each rival."""

    name = "clip_i_of_the_model"

    def measure(self, results: Results) -> list[Row]:
        """Rows where there is a model to look and held-out pictures to look at."""
        if results.bench is None or LIKED not in results.extra_pictures:
            return []
        return likeness_rows(results, self.name, {m: results.clip(m) for m in (*results.methods, LIKED, DISLIKED)})
