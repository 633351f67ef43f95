"""The whole run, source by source the same: rows into the index, users merged, those with enough kept, shards written.

The paper's four steps for Pick-a-Pic (drop, group, merge, keep), for every source. A killed run goes on where its last
batch ended when the same command is given again, and ends in the same bytes; a finished folder is left as it is.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from prefgen.core import InputError
from prefgen.history.collect.checked import Quality
from prefgen.history.collect.entries import Source
from prefgen.history.collect.index import Index
from prefgen.history.collect.merging import Merged, merged
from prefgen.history.collect.people import FORMAT, VERSION, ShardWriter, head_of, replace_text
from prefgen.history.splits import split_of

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is kept. `min_liked` and `min_disliked` are pictures a user needs on each side."""

    min_liked: int = 4
    min_disliked: int = 4
    quality: Quality = field(default_factory=Quality)
    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1
    split_seed: int = 0
    people_per_shard: int = 1000


def collect(
    source: Source, out: Path, rules: Rules | None = None, *, say: Say = print, max_batches: int | None = None
) -> dict[str, object]:
    """Collects a source into the folder `out` and returns the contents of its `data.json`.

    `max_batches` stops after so many, unfinished; the same call then goes on.

    Raises:
        InputError: `out` holds something else, another run is at work there, or nobody is left.
        DataError: what the source raises for a file that is not what its reader expects.
    """
    rules = rules or Rules()
    split_of("", train=rules.train, validation=rules.validation, test=rules.test)  # wrong shares are told before hours
    told = source.describe()
    description = {"source": told, "rules": asdict(rules)}
    if (out / "data.json").exists():
        return _finished(out, description)
    _refuse_other(out)
    index = Index(out, told, rules.quality, asdict(rules))
    try:
        if not _read(source, index, say, max_batches):
            return {}
        head = _written(index, out, rules, description, say)
    finally:
        index.close()
    shutil.rmtree(out / ".work")
    return head


def _finished(out: Path, description: dict[str, object]) -> dict[str, object]:
    head = head_of(out)
    if {key: head.get(key) for key in description} != json.loads(json.dumps(description)):
        raise InputError(f"{out} is finished, from other sources or settings", hint="give another folder")
    shutil.rmtree(out / ".work", ignore_errors=True)
    return head


def _refuse_other(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, expected a folder for the people")
    if out.exists() and not (out / ".work").exists() and any(out.iterdir()):
        raise InputError(f"{out} holds other files", hint="give a new or empty folder")


def _read(source: Source, index: Index, say: Say, max_batches: int | None) -> bool:
    """Step 1 while rows come in; False when stopped before the end."""
    part = ""
    for n, batch in enumerate(source.batches(index.done())):
        if n == max_batches:
            return False
        if batch.part != part:
            part = batch.part
            say(f"reading {part} ({index.counts().get('rows', 0):,} rows so far)")
        index.add(batch)
    return True


def _written(index: Index, out: Path, rules: Rules, description: dict[str, object], say: Say) -> dict[str, object]:
    """Steps 2 to 4, and the folder."""
    read = index.counts()
    people, kept = Counter[str](), Counter[str]()
    writer = ShardWriter(out, rules.people_per_shard)
    with index.whole():
        for user, opinions in index.people():
            _sort_in(user, merged(opinions), index, rules, writer, people, kept)
    shards = writer.close()
    n_users, counts = people["users"], _steps(read, people, kept)
    if kept["users"]:
        counts["4 keep"]["pictures"] = index.remove_unkept()
    for step, numbers in counts.items():
        say(f"{step}: " + ", ".join(f"{name} {n:,}" for name, n in numbers.items()))
    replace_text(out / "counts.json", json.dumps(counts, indent=1) + "\n")
    if not kept["users"]:
        raise InputError(
            f"nobody is left of {n_users} users; {out / 'counts.json'} says why",
            hint="ask for fewer pictures a person (--min-liked, --min-disliked), or look at what was dropped",
        )
    head = {"format": FORMAT, "version": VERSION, **description, "counts": counts, "shards": shards}
    replace_text(out / "data.json", json.dumps(head, ensure_ascii=False, indent=1) + "\n")
    return json.loads(json.dumps(head))


def _sort_in(
    user: str, person: Merged, index: Index, rules: Rules, writer: ShardWriter, people: Counter[str], kept: Counter[str]
) -> None:
    """One user: counted, and written if there is enough on both sides."""
    n_liked, n_disliked = person.n_on("like"), person.n_on("dislike")
    people.update({"users": 1, "likes": n_liked, "dislikes": n_disliked})
    people.update(person.counts)
    if n_liked < rules.min_liked or n_disliked < rules.min_disliked or not person.rows:
        kept["users with too few pictures"] += 1
        return
    split = split_of(user, train=rules.train, validation=rules.validation, test=rules.test, seed=rules.split_seed)
    kept.update({"users": 1, f"users in {split}": 1, "likes": n_liked, "dislikes": n_disliked})
    kept["targets"] += len(person.targets)
    index.keep(set(person.pictures))
    writer.add(user, split, person, index.attributes(user))


def _steps(read: dict[str, int], people: Counter[str], kept: Counter[str]) -> dict[str, dict[str, int]]:
    dropped = {name: people.pop(name, 0) for name in ("opinions of pairs judged both ways", "repeated opinions")}
    grouped = {name: people.pop(name, 0) for name in ("users", "opinions")}
    return {
        "1 drop": {**read, **dropped},
        "2 group": grouped,
        "3 merge": {name: people[name] for name in sorted(people)},
        "4 keep": {name: kept[name] for name in sorted(kept)},
    }
