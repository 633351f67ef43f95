"""Before the conversations: yes/no questions only, true labels, many people a step.

Finding the liked pictures that a query resembles is the skill all preference questions rest on. It is learned here at
several times the pace of whole conversations, from pairs that differ in everything first (ours).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prefgen.core import seed_of
from prefgen.mllm import Pack, history_parts
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.mllm_people import N_EVERYTHING, N_ONE, pairs_of
from prefgen.recipes.vqa_branches import yes_no_branches
from prefgen.recipes.vqa_packs import Asked
from prefgen.recipes.vqa_slots import chosen_slots, slots_of, told, told_sides

QUESTIONS_PER_PACK = 8
"""Questions that one history counts for in the number of samples seen."""
MOST_QUERIES = 4
"""Pairs asked of one history at most."""
ONLY_EVERYTHING_SHARE = 0.3
"""Share of the matching that begins without pairs that differ in one thing only."""


def matching_pack(rng: np.random.Generator, index: int, *, everything: bool) -> Asked:
    """One to six pictures a side, most often four, and pairs left of what the person likes now as queries.

    `everything` leaves out the pairs that differ in one thing only.
    """
    person = pairs_of(index, "train")[0]
    tastes = person.current_tastes()
    pairs = [pair for pair in slots_of(index, "train", range(N_EVERYTHING)) if pair[0].taste in tastes]
    pairs = [pairs[int(i)] for i in rng.permutation(len(pairs))]
    n_shown = min(6, max(len(pairs) - 1, 1))
    n_like, n_dislike = (4, 4) if rng.random() < 0.5 else rng.integers(1, n_shown + 1, 2).tolist()
    items = told(rng, chosen_slots(rng, pairs[:n_shown], n_like, n_dislike), flipped=0.0)
    queries = pairs[n_shown:]
    if not everything:
        queries = queries[: MOST_QUERIES // 2] + slots_of(index, "train", range(N_EVERYTHING, N_EVERYTHING + N_ONE))
    queries = [queries[int(i)] for i in rng.permutation(len(queries))[:MOST_QUERIES]]
    branches = [b for pair in queries for b in yes_no_branches((pair[0].key, pair[1].key), (), (), rng)]
    return Asked(
        pack=Pack(history=history_parts(items), branches=tuple(branches)),
        pairs=tuple((k, k + 1) for k in range(0, len(branches), 2)),
        kind="own",
        person=index,
        sides=told_sides(items),
        tastes=tuple(tastes),
    )


def matching_at(step: int, *, n_people: int, n_packs: int, seed: int, everything: bool) -> list[Asked]:
    """The packs of a step, a pure function of it: each person's own history with true labels."""
    rng = np.random.default_rng(seed_of("preference_matching", seed, step))
    return [matching_pack(rng, int(i), everything=everything) for i in rng.choice(n_people, n_packs, replace=False)]


def learn_matching(c: Context, loop_of: Callable[[Callable[[int], list[Asked]], LoopSettings], Loop]) -> None:
    """Trains what `loop_of` makes a loop of, until it has seen `mllm_match_samples` questions."""
    p = c.preset
    batch_size = p.mllm_match_batch * QUESTIONS_PER_PACK
    n_first = int(ONLY_EVERYTHING_SHARE * p.mllm_match_samples / batch_size)

    def packs(step: int) -> list[Asked]:
        return matching_at(step, n_people=p.n_users, n_packs=p.mllm_match_batch, seed=p.seed, everything=step < n_first)

    settings = LoopSettings(
        n_samples=p.mllm_match_samples,
        batch_size=batch_size,
        learning_rate=p.mllm_match_rate,
        warmup_samples=min(100 * batch_size, p.mllm_match_samples // 10),
        ema_decay=0.998,
        seed=p.seed,
    )
    loop = loop_of(packs, settings)
    loop.run(c.deadline)
    loop.use_ema()
