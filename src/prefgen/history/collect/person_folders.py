"""A folder of one's own: a sub-folder a person, with `likes/` and `dislikes/` in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from prefgen.core import InputError, Side
from prefgen.history.collect.entries import Batch, Entry, Seen, in_batches
from prefgen.history.collect.release import picture_bytes
from prefgen.history.pictures import picture_name
from prefgen.history.readers import pictures_in, prompt_beside

_NAMES: dict[str, Side] = {"likes": "like", "liked": "like", "dislikes": "dislike", "disliked": "dislike"}


class PersonFolders:
    """The people of a folder by name; a picture's prompt may stand beside it as `fox.txt`."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise InputError(
                f"{picture_name(root)} is not a folder", hint="give the folder that holds one folder a person"
            )
        self.root = root
        self.people = sorted(path for path in root.iterdir() if path.is_dir() and any(_sides(path)))
        if not self.people:
            raise InputError(
                f"nobody in {picture_name(root)}", hint="a person is a folder with likes/ and dislikes/ in it"
            )

    def describe(self) -> dict[str, object]:
        """The people, and how many pictures each has."""
        people = {person.name: sum(len(pictures_in(folder)) for folder, _ in _sides(person)) for person in self.people}
        return {"kind": "folders", "people": people}

    def batches(self, done: Mapping[str, int]) -> Iterator[Batch]:
        """A person at a time, a picture an entry."""
        for person in self.people:
            entries = (
                Entry(
                    user_id=person.name,
                    seen=(Seen(picture=picture_bytes(folder, path.name), side=side, prompt=prompt_beside(path)),),
                )
                for folder, side in _sides(person)
                for path in pictures_in(folder)
            )
            yield from in_batches(person.name, entries, 16, done.get(person.name, 0))


def _sides(person: Path) -> list[tuple[Path, Side]]:
    return [(person / name, side) for name, side in _NAMES.items() if (person / name).is_dir()]
