"""Hidden states of people's histories, read once by a language model that is no longer trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from prefgen.core import numpy_rng
from prefgen.embedding import SideFeatures
from prefgen.mllm import PreferenceMLLM
from prefgen.recipes.checkpoint import fingerprint, save_tensors
from prefgen.recipes.loop import Deadline, Unfinished
from prefgen.recipes.own_data.features import PEOPLE_A_FILE, People
from prefgen.recipes.own_data.people import Opinion, PaintingCase, as_told, painting_case

HALF_MOST = 65_504.0
"""The largest number that float16 holds: states of large models may lie beyond."""
MOST_PICTURES = 8
"""Most pictures a side of a history that an adapter hears."""


def case_of(people: People, place: int, variant: int) -> PaintingCase:
    """One division of a person's pictures, always the same."""
    person = people.person(place)
    return painting_case(numpy_rng("own painting", person.user_id, variant), person, MOST_PICTURES)


@dataclass(frozen=True, kw_only=True)
class States:
    """Hidden states of everybody's divisions by one language model, a file for each file of people.

    `layers` are the states that were kept, of `n_states`; None where all were.
    """

    people: People
    files: tuple[Path, ...]
    layers: tuple[int, ...] | None = None
    n_states: int = 0

    def side(self, place: int, variant: int, case: PaintingCase, side: int) -> SideFeatures:
        """One side's features (0 likes, 1 dislikes) of one division, as a batch of one."""
        number, row = divmod(place, PEOPLE_A_FILE)
        last, mean = (
            _file(self.files[number]).get_slice(name)[row, variant, side].float() for name in ("last", "mean")
        )
        own = opinions_on(case, side)
        images = self.people.rows("clip", [o.key for o in own])
        if not own:
            images = torch.zeros(1, images.shape[-1])
        weights = torch.tensor([[o.weight for o in own] or [0.0]])
        if self.layers is not None:
            last, mean = (self._among_all(states) for states in (last, mean))
        return SideFeatures(last=last[None], mean=mean[None], images=images[None], weights=weights)

    def _among_all(self, kept: Tensor) -> Tensor:
        """[n_kept, d] as [n_states, d], zeros where nothing was kept."""
        whole = kept.new_zeros(self.n_states, kept.shape[-1])
        whole[list(self.layers or ())] = kept
        return whole


def opinions_on(case: PaintingCase, side: int) -> list[Opinion]:
    """A division's history on one side (0 likes, 1 dislikes)."""
    return [o for o in case.history if o.side == ("like", "dislike")[side]]


@lru_cache(maxsize=16)
def _file(path: Path) -> Any:
    return safe_open(path, framework="pt").__enter__()


def states_of(
    people: People, model: Path, work: Path, n_variants: int, *, deadline: Deadline, say: Callable[[str], None]
) -> States:
    """The states of everybody who can be painted for by a model folder's language model; see `states_read`."""
    read_by = fingerprint(model / "mllm")
    load = partial(PreferenceMLLM.from_pretrained, model / "mllm")
    return states_read(people, load, read_by, work, n_variants, deadline=deadline, say=say)


def states_read(
    people: People,
    load: Callable[[], PreferenceMLLM],
    read_by: str,
    work: Path,
    n_variants: int,
    *,
    deadline: Deadline,
    say: Callable[[str], None],
    layers: Sequence[int] | None = None,
    n_states: int = 0,
) -> States:
    """The states of everybody who can be painted for by the language model that `load` gives, `read_by` naming it;
    computed on first use. With `layers` only those of the model's `n_states` are kept.

    Raises:
        Unfinished: the time was up; what was read is kept.
    """
    kept = None if layers is None else tuple(sorted(set(layers)))
    told = "" if kept is None else "." + "-".join(map(str, kept))
    folder = work / "states" / f"{read_by}.{n_variants}{told}"
    paintable = iter(people.paintable.tolist())
    place, files, mllm = next(paintable, None), [], None
    for number, file in enumerate(people.files):
        places = []
        while place is not None and place < (number + 1) * PEOPLE_A_FILE:
            places.append(place)
            place = next(paintable, None)
        path = folder / file.name
        is_new = not path.exists()
        if is_new:
            mllm = mllm or load()
            save_tensors(path, _read(mllm, people, places, n_variants, kept))
            say(f"states: {len(places)} people of file {number + 1} of {len(people.files)}")
        files.append(path)
        if is_new and deadline.passed:
            raise Unfinished(f"states: {number + 1} of {len(people.files)} files")
    return States(people=people, files=tuple(files), layers=kept, n_states=n_states)


def _read(
    mllm: PreferenceMLLM, people: People, places: Sequence[int], n_variants: int, layers: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """float16 `last`, `mean` [PEOPLE_A_FILE, n_variants, 2, n_states, d_lm]; zeros where nobody is read."""
    shape = (PEOPLE_A_FILE, n_variants, 2, mllm.n_states if layers is None else len(layers), mllm.width)
    out = {name: torch.zeros(shape, dtype=torch.float16) for name in ("last", "mean")}
    for place in places:
        told = []
        for variant in range(n_variants):
            history = case_of(people, place, variant).history
            tokens = people.pictures([o.key for o in history])
            pictures = dict(zip([o.key for o in history], tokens))
            told.append([replace(item, picture=pictures[item.picture]) for item in as_told(history)])
        states = mllm.encode_told(told, layers)
        for name, table in out.items():
            sides = [getattr(side, name) for side in (states.like, states.dislike)]
            table[place % PEOPLE_A_FILE] = torch.stack(sides, 1).clamp(-HALF_MOST, HALF_MOST).half().cpu()
    return out
