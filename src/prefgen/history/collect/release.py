"""The released PrefBench: its JSON with unpacked pictures beside it, and users' attributes as JSON.

Each record is one task of a user: liked and disliked pictures in parallel to their prompts, and a target, a liked
picture that is kept apart from the history. Several records of one `id` are merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from prefgen.core import DataError, InputError, Side
from prefgen.history.collect.checked import MAX_FILE_BYTES
from prefgen.history.collect.entries import Batch, Entry, Seen, in_batches
from prefgen.history.collect.pickles import refuse_pickled_file
from prefgen.history.inside import path_inside
from prefgen.history.items import parse_text
from prefgen.history.pictures import picture_name
from prefgen.history.prefbench import layout_of
from prefgen.history.tables import naming, parse_json, read_text

_SIDES: tuple[tuple[str, Side], ...] = (("positive_img", "like"), ("negative_img", "dislike"))


class PrefBenchRelease:
    """The records of PrefBench JSON files. `images` is the folder their paths start from, `attributes` a JSON object
    from user id to `[negative, positive]`."""

    def __init__(
        self, files: list[Path], images: Path, attributes: Path | None = None, *, records_at_once: int = 16
    ) -> None:
        for path in [*files, *([attributes] if attributes else [])]:
            refuse_pickled_file(path)
        self.files, self.images, self.records_at_once = files, images, records_at_once
        self.attributes = {} if attributes is None else _attributes(attributes)
        if not images.is_dir():
            raise InputError(
                f"{picture_name(images)} is not a folder", hint="unpack the tars first: prefgen data unpack"
            )

    def describe(self) -> dict[str, object]:
        """The files with their sizes, and how many users have attributes."""
        files = [[path.name, path.stat().st_size] for path in self.files]
        return {"kind": "prefbench", "files": files, "users_with_attributes": len(self.attributes)}

    def batches(self, done: Mapping[str, int]) -> Iterator[Batch]:
        """The records in batches; one JSON file is in memory at a time."""
        for place, path in enumerate(self.files):
            part = f"{place}:{path.name}"
            n_done = done.get(part, 0)
            rows = layout_of(path)[n_done:]
            entries = (self._entry(row, f"{path.name}, record {n_done + index}") for index, row in enumerate(rows))
            yield from in_batches(part, entries, self.records_at_once, n_done, skip=False)

    def _entry(self, row: dict, where: str) -> Entry:
        with naming(where):
            seen = [
                self._seen(image, side, prompt)
                for key, side in _SIDES
                for image, prompt in zip(row[key], row["prompt_list"])
            ]
            user = str(row["id"])
            words = row.get("attributes") or self.attributes.get(user)
            return Entry(
                user_id=user,
                seen=tuple(seen),
                targets=(self._seen(row["image_file"], "like", row["text"]),),
                attributes=None if words is None else (words[0], words[1]),
            )

    def _seen(self, image: str, side: Side, prompt: str) -> Seen:
        return Seen(picture=picture_bytes(self.images, image), side=side, prompt=prompt)


def picture_bytes(root: Path, text: str) -> bytes:
    """A picture's file named by a data file; it lies inside `root`, and no more than a picture's bytes are read.

    Raises:
        InputError: it is missing, or its path leads out.
    """
    path = path_inside(root, text)
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{picture_name(path)} cannot be read: {getattr(error, 'strerror', None) or error}",
            hint="are all tars unpacked?",
        ) from error


def _attributes(path: Path) -> dict[str, list[str]]:
    with naming(picture_name(path)):
        value = parse_json(read_text(path))
        if not isinstance(value, dict):
            raise DataError("expected an object from user id to [negative, positive]")
        for user, words in value.items():
            if not isinstance(words, list) or len(words) != 2:
                raise DataError(f"expected [negative, positive] for the user {user!r}")
            for text in words:
                if parse_text(text, "attributes") is None and text != "":
                    raise DataError(f"expected two texts for the user {user!r}")
        return value
