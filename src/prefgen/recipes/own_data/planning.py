"""Whether a folder has the people that a training needs, told from its rows before any picture is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefgen.core import DataError
from prefgen.history.collect import CollectedPerson, people_in
from prefgen.history.items import parse_side, parse_text
from prefgen.history.splits import SPLITS, Split
from prefgen.history.tables import naming
from prefgen.recipes.own_data.people import MOST_OPINIONS, Opinion, OwnPerson
from prefgen.recipes.own_data.settings import OwnDataPreset


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many people a split has, how many pictures, and who can be asked about and be painted for."""

    people: int = 0
    pictures: int = 0
    asked_about: int = 0
    painted_for: int = 0


def plan_of(folder: Path) -> dict[Split, Counts]:
    """What each split of a folder has, by its rows alone: files stand for pictures. Where two files hold one picture, a
    training finds less, never more.

    Raises:
        InputError, DataError: the folder cannot be read, or somebody stands in two splits.
    """
    counts: dict[Split, Counts] = {split: Counts() for split in SPLITS}
    seen: dict[str, Split] = {}
    for person in people_in(folder):
        if seen.setdefault(person.user_id, person.split) != person.split:
            raise DataError(
                f"{folder}: user {person.user_id!r} stands in {seen[person.user_id]} and in {person.split}",
                hint="who is learned from cannot be held out: prefgen data splits people by who they are",
            )
        told, old = told_person(person), counts[person.split]
        counts[person.split] = Counts(
            people=old.people + 1,
            pictures=old.pictures + len(told.opinions),
            asked_about=old.asked_about + told.can_be_asked,
            painted_for=old.painted_for + told.can_be_painted_for,
        )
    return counts


def told_person(person: CollectedPerson) -> OwnPerson:
    """A person by the rows of the folder, pictures not opened."""
    rows = [*person.items, *({**row, "side": "like"} for row in person.targets)][-MOST_OPINIONS:]
    with naming(f"user {person.user_id!r}"):
        opinions = [_opinion(key, row) for key, row in enumerate(rows)]
    return OwnPerson(user_id=person.user_id, opinions=tuple(opinions))


def _opinion(key: int, row: dict[str, object]) -> Opinion:
    prompt = parse_text(row.get("prompt"), "prompt")
    return Opinion(key=key, sha256=str(row["image"]), side=parse_side(row["side"]), prompt=prompt)


def check_enough(counts: Mapping[Split, Counts], p: OwnDataPreset, folder: Path) -> None:
    """Raises `DataError` where a stage that is asked for has too few people."""
    stages = {
        "preferences": (p.preference_samples, "asked_about", "a liked and a disliked picture besides another prompt's"),
        "adapter": (p.adapter_samples, "painted_for", "liked pictures of two prompts"),
    }
    needed: dict[Split, int] = {"train": p.least_people, "validation": p.least_validation_people}
    for stage, (n_samples, kind, what) in stages.items():
        for split, least in needed.items():
            n = getattr(counts[split], kind)
            if n_samples and n < least:
                raise DataError(
                    f"{folder}: expected {least} {split} people or more with {what} for the stage {stage!r}, "
                    f"got {n} of {counts[split].people}",
                    hint=_more_people(stage, split),
                )


def _more_people(stage: str, split: Split) -> str:
    if split == "validation":
        return "collect with more of them, such as --train 0.6 --validation 0.3 --test 0.1"
    told = "collect more people (one alone needs no training: prefgen profile build)"
    return f"{told}, or leave the stage out: --set preference_samples=0" if stage == "preferences" else told
