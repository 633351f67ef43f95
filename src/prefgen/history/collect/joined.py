"""Folders of people joined into one: shards of a large run, or real and simulated people together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from prefgen.history.collect.entries import Batch, Entry, Seen, in_batches
from prefgen.history.collect.people import CollectedPerson, head_of, people_in
from prefgen.history.collect.release import picture_bytes
from prefgen.history.items import parse_side


class PeopleFolders:
    """The people of several folders; one `user_id` in two of them is one person, unless `apart` names each folder."""

    def __init__(self, folders: list[Path], *, apart: bool = False) -> None:
        self.folders, self.apart = folders, apart
        self._heads = [head_of(folder) for folder in folders]

    def describe(self) -> dict[str, object]:
        """Where the people of each folder came from."""
        return {"kind": "joined", "apart": self.apart, "folders": [head["source"] for head in self._heads]}

    def batches(self, done: Mapping[str, int]) -> Iterator[Batch]:
        """A person an entry, a few at a time."""
        for place, folder in enumerate(self.folders):
            part = f"{place}:{folder.name}"
            entries = (self._entry(person, folder) for person in people_in(folder))
            yield from in_batches(part, entries, 4, done.get(part, 0))

    def _entry(self, person: CollectedPerson, folder: Path) -> Entry:
        def seen(row: dict[str, object], side: object) -> Seen:
            data = picture_bytes(person.folder, str(row["image"]))
            return Seen(picture=data, side=parse_side(side), prompt=row.get("prompt"), time=row.get("time"))

        return Entry(
            user_id=f"{folder.name}/{person.user_id}" if self.apart else person.user_id,
            seen=tuple(seen(row, row["side"]) for row in person.items),
            targets=tuple(seen(row, "like") for row in person.targets),
            attributes=person.attributes if any(person.attributes) else None,
        )
