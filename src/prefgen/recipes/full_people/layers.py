"""Which layers `e_core` and `e_sem` are read from: probed on validation people, whose tastes nobody needs to know.

Inter-user: a person's liked pictures are dealt into disjoint histories, and which of several people one is of is asked.
Intra-user: whether a picture that the history does not hold is liked. Both need labels alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.core import numpy_rng
from prefgen.mllm import PreferenceMLLM, Told
from prefgen.probing import LayerChoice, choose_layers, inter_user, intra_user
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.own_data.conversations import Examined, examined_people
from prefgen.recipes.own_data.features import People
from prefgen.recipes.own_data.people import Opinion, as_told
from prefgen.recipes.own_data.states import MOST_PICTURES

N_HISTORIES = 4
LEAST_PROBED = 8
"""People from whom on curves are believed; of fewer the paper's regions are taken as they are."""
N_LAYERS = 4


def chosen_layers(
    mllm: Callable[[], PreferenceMLLM], people: People, most: int, path: Path, say: Callable[[str], None]
) -> tuple[LayerChoice, int]:
    """The choice, probed on first use, and of how many states; `path` keeps it with both curves."""
    if path.exists():
        told = json.loads(path.read_text())
        return LayerChoice.from_json(told["choice"]), int(told["n_states"])
    exams = [one for one in examined_people(people, most) if len(dealt(one)) == N_HISTORIES]
    reader = mllm()
    if len(exams) < LEAST_PROBED:
        choice = unprobed(reader.n_states, len(exams))
        curves: dict[str, Any] = {}
    else:
        choice, curves = _probed(reader, people, exams)
    save_json(path, {"choice": choice.to_json(), "n_states": reader.n_states, **curves})
    say(f"layers: e_core {choice.e_core}, e_sem {choice.e_sem}")
    return choice, reader.n_states


def unprobed(n_states: int, n_people: int) -> LayerChoice:
    """The paper's regions (arXiv 2512.06020), evenly: the top layers, and as many from the middle up to them."""
    n = min(N_LAYERS, n_states)
    bottom, top = min(n_states // 3, n_states - n), n_states - n if n_states >= 3 * n else n_states
    core = np.unique(np.linspace(bottom, max(top - 1, bottom), n).round().astype(int))
    return LayerChoice(
        e_core=tuple(int(layer) for layer in core),
        e_sem=tuple(range(n_states - n, n_states)),
        reason=f"not probed: {n_people} validation people have pictures enough, {LEAST_PROBED} are asked for; "
        "the paper's regions.",
    )


def dealt(one: Examined) -> list[list[Opinion]]:
    """A person's liked pictures as `N_HISTORIES` histories that share no picture and no prompt, each as long as an
    adapter hears them; fewer where there are too few."""
    groups = sorted({o.group for o in one.person.liked()})
    rng = numpy_rng("probed histories", one.person.user_id)
    order = [groups[int(i)] for i in rng.permutation(len(groups))]
    hands = [set(order[k::N_HISTORIES]) for k in range(N_HISTORIES)]
    return [one.person.liked(hand)[:MOST_PICTURES] for hand in hands if hand]


def _probed(
    mllm: PreferenceMLLM, people: People, exams: Sequence[Examined]
) -> tuple[LayerChoice, dict[str, dict[str, Any]]]:
    hidden: list[np.ndarray] = []
    asked: list[np.ndarray] = []
    owners: list[int] = []
    for user, one in enumerate(exams):
        histories = [_shown(people, history) for history in dealt(one)]
        hidden += [mllm.encode_told([history]).like.last.float().cpu().numpy() for history in histories]
        owners += [user] * len(one.asked)
        asked.append(mllm.asked_states(_shown(people, one.history), _pictures(people, one.asked)).cpu().numpy())
    users = [user for user in range(len(exams)) for _ in range(N_HISTORIES)]
    numbers = list(range(N_HISTORIES)) * len(exams)
    labels = [int(opinion.side == "like") for one in exams for opinion in one.asked]
    inter = inter_user(np.concatenate(hidden).transpose(1, 0, 2), users, numbers)
    intra = intra_user(np.concatenate(asked).transpose(1, 0, 2), labels, owners)
    choice = choose_layers(inter, intra, min(N_LAYERS, mllm.n_states))
    return choice, {"inter": inter.to_json(), "intra": intra.to_json()}


def _shown(people: People, history: Sequence[Opinion]) -> list[Told]:
    pictures = dict(zip([o.key for o in history], _pictures(people, history)))
    return [replace(item, picture=pictures[item.picture]) for item in as_told(history)]


def _pictures(people: People, opinions: Sequence[Opinion]) -> list[Any]:
    return people.pictures([o.key for o in opinions])
