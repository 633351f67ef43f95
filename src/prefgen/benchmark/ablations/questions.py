"""Every question by name."""

from __future__ import annotations

from prefgen.benchmark.ablations.asked_dislikes import AskedDislikes
from prefgen.benchmark.ablations.asking import Question
from prefgen.benchmark.ablations.balance import BALANCE
from prefgen.benchmark.ablations.contradiction import CONTRADICTION
from prefgen.benchmark.ablations.fixed_palette import FIXED_PALETTE
from prefgen.benchmark.ablations.history_size import HISTORY_SIZE
from prefgen.benchmark.ablations.influence import Influence
from prefgen.benchmark.ablations.noise import NOISE
from prefgen.benchmark.ablations.parts import PARTS_HEARD
from prefgen.benchmark.ablations.pooling import POOLING
from prefgen.benchmark.ablations.recency import RECENCY
from prefgen.benchmark.ablations.semantics import Semantics
from prefgen.benchmark.ablations.strengths import DISLIKE_STRENGTH, LIKE_STRENGTH
from prefgen.benchmark.ablations.subject_taste import SUBJECT_TASTE
from prefgen.benchmark.ablations.unseen_clusters import UnseenClusters
from prefgen.benchmark.ablations.variety import Variety

QUESTIONS: dict[str, Question] = {
    question.name: question
    for question in (
        HISTORY_SIZE,
        BALANCE,
        NOISE,
        CONTRADICTION,
        Variety(),
        RECENCY,
        SUBJECT_TASTE,
        LIKE_STRENGTH,
        DISLIKE_STRENGTH,
        AskedDislikes(),
        PARTS_HEARD,
        POOLING,
        UnseenClusters(),
        Semantics(),
        FIXED_PALETTE,
        Influence(),
    )
}
