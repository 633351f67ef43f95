"""The verb that embeds many people at once."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli.options import Json, Model, Out
from prefgen.cli.output import emit, log_to_stderr


def embed(
    people: Annotated[
        Path, typer.Option("--people", help="A .jsonl or .parquet file: person, liked, disliked (lists of paths).")
    ],
    out: Out,
    engine: Annotated[str, typer.Option("--engine", help="local, or ray (pip install 'prefgen[ray]').")] = "local",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Workers of the engine ray.")] = 1,
    per_shard: Annotated[int, typer.Option("--per-shard", min=1, help="People in one file.")] = 64,
    model: Model = "embedded",
    json_: Json = False,
) -> None:
    """Embed many people: shards of their tokens and an index by name. Whoever is there already is skipped."""
    log_to_stderr()
    from prefgen.pipeline import EMBEDDING_VERSION, hash_of_folder
    from prefgen.pipeline.loading import folder_of
    from prefgen.recipes.embed_people import embed_people, model_embedder, say_failed

    folder = folder_of(model)
    made = embed_people(
        people,
        out,
        partial(model_embedder, str(folder)),
        made_by=hash_of_folder(folder, EMBEDDING_VERSION),
        engine=engine,
        n_workers=workers,
        people_a_shard=per_shard,
    )
    say_failed(made.failed)
    lines = [f"{made.n_now} people embedded, {made.n_before} were there before, {len(made.failed)} left out"]
    emit({"out": str(out), **asdict(made)}, as_json=json_, lines=lines)
