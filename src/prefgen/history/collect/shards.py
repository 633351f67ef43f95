"""A folder of people as WebDataset tars: a person a sample, `json` with the rows, then `0.jpg`, `1.jpg`, …

Written with the webdataset library, the same bytes for the same folder; a killed run writes only what is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from prefgen.core import InputError
from prefgen.history.collect.parquet import EXTRA
from prefgen.history.collect.people import CollectedPerson, people_in
from prefgen.history.collect.release import picture_bytes
from prefgen.history.splits import SPLITS


def write_shards(folder: Path, out: Path, *, people_per_shard: int = 100) -> list[Path]:
    """Writes `out/<split>-00000.tar`, …; returns their paths. A shard that is there already stays.

    Raises:
        InputError: webdataset is not installed, or `folder` is no folder of people.
        DataError: a file of the folder is damaged.
    """
    try:
        from webdataset.writer import TarWriter
    except ImportError as error:
        raise InputError("writing shards needs webdataset", hint=EXTRA) from error
    written: list[Path] = []
    for split in SPLITS:
        people = people_in(folder, split)
        while some := list(islice(people, people_per_shard)):
            path = out / f"{split}-{len([p for p in written if p.name.startswith(split)]):05d}.tar"
            written.append(path)
            if path.exists():
                continue
            out.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(path.name + ".part")
            with unfinished.open("wb") as file, TarWriter(file, mtime=0, encoder=False) as tar:
                for sample in _samples(some, people_per_shard * _number(path)):
                    tar.write(sample)
            os.replace(unfinished, path)
    return written


def _number(shard: Path) -> int:
    return int(shard.stem.rsplit("-", 1)[1])


def _samples(people: list[CollectedPerson], first: int) -> Iterator[dict[str, object]]:
    for place, person in enumerate(people, start=first):
        rows = [*person.items, *({**row, "side": "like", "target": True} for row in person.targets)]
        names = [f"{number}{Path(str(row['image'])).suffix}" for number, row in enumerate(rows)]
        told = {
            "user_id": person.user_id,
            "items": [{**row, "image": name} for row, name in zip(rows, names)],
            "attributes": list(person.attributes),
        }
        pictures = {name: picture_bytes(person.folder, str(row["image"])) for row, name in zip(rows, names)}
        key = f"{person.split}-{place:07d}"
        yield {"__key__": key, "json": json.dumps(told, ensure_ascii=False).encode(), **pictures}
