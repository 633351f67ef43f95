"""The verb that lets a person's taste out into other software."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli.opening import open_model
from prefgen.cli.options import Adapters, Device, Json, Model, Out
from prefgen.cli.output import emit

FORMATS = ("diffusers",)


def export(
    profiles: Annotated[list[Path], typer.Argument(help="Profile files; a file's name is the person's.")],
    out: Out,
    to: Annotated[str, typer.Option("--to", help="What for: diffusers.")] = "diffusers",
    pipeline: Annotated[
        bool, typer.Option("--pipeline", help="Also write the generator, as a pipeline that diffusers loads.")
    ] = False,
    adapters: Adapters = None,
    model: Model = "embedded",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Write the adapter and people's embeddings for stock diffusers, which then paints for them without prefgen."""
    from prefgen.core import ConfigError, InputError, nearest_hint
    from prefgen.pipeline import Profile, export_to_diffusers

    if to not in FORMATS:
        raise ConfigError(f"expected --to of {', '.join(FORMATS)}, got {to!r}", hint=nearest_hint(to, FORMATS))
    people = {path.stem: Profile.load(path) for path in profiles}
    if len(people) != len(profiles):
        raise InputError("expected profiles of different names, got one name twice", hint="rename a file")
    opened = open_model(model, device, "float32", quiet=True)
    made = export_to_diffusers(opened, people, out, with_pipeline=pipeline, adapters=adapters)
    told = {"folder": str(made.folder), "files": list(made.files), "people": list(made.people), "lost": dict(made.lost)}
    lines = [f"wrote {made.folder / name}" for name in made.files]
    emit(told, as_json=json_, lines=[*lines, f"README.md in {made.folder} says how to paint with it"])
