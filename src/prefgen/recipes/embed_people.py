"""`prefgen embed`: the user tokens of many people, from a manifest to shards of safetensors and an index by name.

A shard names its people, so the shards are the record of what is done: a run that was broken off goes on with the
people that no shard holds, whatever their number a shard is now.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from prefgen.adapter import UserTokens
from prefgen.core import DataError, History, InputError, ModelError, PrefGenError
from prefgen.recipes.checkpoint import load_metadata, save_tensors
from prefgen.recipes.many import Work, each
from prefgen.recipes.people_manifest import places, rows_at

PEOPLE_A_SHARD = 64
INDEX = "index.jsonl"


class Embedder(Protocol):
    """From a history to user tokens, a row for the taste as a whole and one for each facet of it."""

    def __call__(self, history: History) -> UserTokens: ...


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What a run has done: people embedded now, before, and those who could not be, with the reason."""

    n_now: int
    n_before: int
    failed: dict[str, str]


def model_embedder(folder: str | Path, device: str = "cpu") -> Embedder:
    """A model's own embedding; float32."""
    from prefgen.pipeline import PrefGen

    model = PrefGen.from_pretrained(folder, device=device)

    def embed(history: History) -> UserTokens:
        return model.embed(model.profile(history=history))

    return embed


def embed_people(
    manifest: Path,
    out: Path,
    make_embedder: Callable[[], Embedder],
    *,
    made_by: str = "",
    engine: str = "local",
    n_workers: int = 1,
    people_a_shard: int = PEOPLE_A_SHARD,
) -> Embedded:
    """Embeds everybody in a manifest (`people_manifest`) whom no shard in `out` holds, and writes the index.

    `make_embedder` is called once in each worker and must be importable there. `made_by` names the model: shards of
    another one are refused. A person whose pictures cannot be read is left out, named, and tried again the next time.

    Raises:
        DataError: a person stands in the manifest twice.
        ModelError: `out` holds embeddings by another model.
    """
    manifest, out = manifest.resolve(), out.resolve()  # a worker may stand elsewhere
    done = {person for _, metadata in shards(out) for person in _checked(metadata, made_by)["people"]}
    n_before, failed, n_now = len(done), {}, 0
    out.mkdir(parents=True, exist_ok=True)
    work = partial(_worker, make_embedder, manifest, out, made_by)
    for told in each(work, _pieces(manifest, done, people_a_shard), engine=engine, n_workers=n_workers):
        n_now += told["n"]
        failed |= told["failed"]
    write_index(out)
    return Embedded(n_now=n_now, n_before=n_before, failed=failed)


def _pieces(manifest: Path, done: set[str], n: int) -> Iterator[list[int]]:
    """Places of `n` people each who are not done yet."""
    waiting: list[int] = []
    met: set[str] = set()
    for person, place in places(manifest):
        if person in met:
            raise DataError(f"{manifest.name}: {person!r} stands there twice", hint="one row a person")
        met.add(person)
        if person not in done:
            waiting.append(place)
        if len(waiting) == n:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _worker(make_embedder: Callable[[], Embedder], manifest: Path, out: Path, made_by: str) -> Work:
    embedder = make_embedder()
    return lambda piece: embed_piece(embedder, manifest, out, made_by, piece)


def embed_piece(embedder: Embedder, manifest: Path, out: Path, made_by: str, piece: Sequence[int]) -> dict[str, Any]:
    """One shard, named by its people: how many it holds, and who failed. A shard that is there is left alone."""
    rows = rows_at(manifest, piece)
    name = hashlib.sha256(json.dumps([row.person for row in rows]).encode()).hexdigest()[:16]
    path = out / f"people-{name}.safetensors"
    if path.exists():
        return {"n": len(load_metadata(path)["people"]), "failed": {}}
    made: dict[str, UserTokens] = {}
    failed: dict[str, str] = {}
    for row in rows:
        try:
            made[row.person] = embedder(row.history(manifest.parent))
        except PrefGenError as error:
            failed[row.person] = error.message
    if made:
        sides = {side: torch.cat([_side(one, side) for one in made.values()]).half() for side in ("like", "dislike")}
        counts = [len(one) for one in made.values()]
        save_tensors(path, sides, {"people": list(made), "n_rows": counts, "made_by": made_by})
    return {"n": len(made), "failed": failed}


def _side(tokens: UserTokens, side: str) -> Tensor:
    """A side's tokens [n_rows, n_tokens, d_cross]; zeros, nobody, where there are none."""
    rows = tokens.like if side == "like" else tokens.dislike
    other = tokens.dislike if side == "like" else tokens.like
    if rows is not None:
        return rows.detach().cpu()
    if other is None:
        raise InputError("expected tokens of one side at least, got none")
    return torch.zeros_like(other.detach().cpu())


def shards(out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every shard and what it says of itself: `people`, `n_rows`, `made_by`."""
    for path in sorted(out.glob("people-*.safetensors")):
        yield path, load_metadata(path)


def _checked(metadata: dict[str, Any], made_by: str) -> dict[str, Any]:
    if metadata["made_by"] != made_by:
        raise ModelError("the folder holds embeddings by another model", hint="name another folder with -o")
    return metadata


def write_index(out: Path) -> None:
    """`index.jsonl`: every person's shard, first row there and number of rows."""
    part = out / f"{INDEX}.part"
    with part.open("w") as file:
        for path, metadata in shards(out):
            row = 0
            for person, n_rows in zip(metadata["people"], metadata["n_rows"]):
                told = {"person": person, "shard": path.name, "row": row, "n_rows": n_rows}
                file.write(json.dumps(told, ensure_ascii=False) + "\n")
                row += n_rows
    part.replace(out / INDEX)


def read_index(out: Path) -> dict[str, dict[str, Any]]:
    """The index by person."""
    lines = (json.loads(line) for line in (out / INDEX).read_text().splitlines())
    return {line["person"]: line for line in lines}


def stored_tokens(out: Path, entry: dict[str, Any]) -> UserTokens:
    """A person's tokens by their entry in the index; only their rows are read from the shard."""
    with safe_open(out / entry["shard"], framework="pt") as file:
        stop = entry["row"] + entry["n_rows"]
        sides = {side: file.get_slice(side)[entry["row"] : stop].float() for side in ("like", "dislike")}
    return UserTokens(**sides)


def say_failed(failed: dict[str, str]) -> None:
    """One line a person who could not be embedded."""
    for person, reason in failed.items():
        print(f"left out {person}: {reason}", file=sys.stderr, flush=True)
