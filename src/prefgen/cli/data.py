"""Verbs that bring people's opinions in: data pick-a-pic, prefbench, frames, folders, agents and so on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefgen.cli.options import Json, given_path
from prefgen.cli.output import emit, log_to_stderr, note

if TYPE_CHECKING:
    from prefgen.agents.writers import Writer
    from prefgen.history.collect import Source

app = typer.Typer(rich_markup_mode=None)

Sources = Annotated[list[Path], typer.Argument(parser=given_path, metavar="PATH", help="Files, or folders of them.")]
Folder = Annotated[Path, typer.Argument(parser=given_path, metavar="FOLDER", help="A folder of people.")]
Out = Annotated[Path, typer.Option("--out", "-o", parser=given_path, metavar="FOLDER", help="The folder to write.")]
Images = Annotated[
    Path | None, typer.Option("--images", parser=given_path, metavar="FOLDER", help="Where pictures' paths start.")
]
MinLiked = Annotated[int, typer.Option("--min-liked", min=0, help="Liked pictures that a person needs to be kept.")]
MinDisliked = Annotated[int, typer.Option("--min-disliked", min=0, help="Disliked pictures that a person needs.")]
MinSide = Annotated[int, typer.Option("--min-side-px", min=1, help="A smaller picture is dropped.")]
Train = Annotated[float, typer.Option("--train", help="Share of users to train on.")]
Validation = Annotated[float, typer.Option("--validation", help="Share of users to choose on.")]
Test = Annotated[float, typer.Option("--test", help="Share of users to test on.")]


@app.command(name="pick-a-pic")
def pick_a_pic(
    paths: Sources,
    out: Out,
    min_liked: MinLiked = 4,
    min_disliked: MinDisliked = 4,
    min_side_px: MinSide = 64,
    train: Train = 0.8,
    validation: Validation = 0.1,
    test: Test = 0.1,
    json_: Json = False,
) -> None:
    """Pick-a-Pic's parquet files (version 1 or 2): drop, group, merge, keep. The same command goes on after a kill."""
    from prefgen.history.collect import PickAPic

    _collect(PickAPic(paths), out, (min_liked, min_disliked, min_side_px), (train, validation, test), json_)


@app.command()
def prefbench(
    paths: Sources,
    out: Out,
    images: Images = None,
    attributes: Annotated[
        Path | None,
        typer.Option("--attributes", parser=given_path, metavar="JSON", help="User id to [negative, positive] words."),
    ] = None,
    min_liked: MinLiked = 4,
    min_disliked: MinDisliked = 4,
    min_side_px: MinSide = 64,
    train: Train = 0.8,
    validation: Validation = 0.1,
    test: Test = 0.1,
    json_: Json = False,
) -> None:
    """A PrefBench release: its JSON, whose pictures `prefgen data unpack` has unpacked."""
    from prefgen.history.collect import PrefBenchRelease

    source = PrefBenchRelease(paths, images or paths[0].parent, attributes)
    _collect(source, out, (min_liked, min_disliked, min_side_px), (train, validation, test), json_)


@app.command()
def frames(
    paths: Sources,
    out: Out,
    images: Images = None,
    queries: Annotated[bool, typer.Option(help="Whether the choice of a row counts beside its references.")] = True,
    min_liked: MinLiked = 4,
    min_disliked: MinDisliked = 4,
    min_side_px: MinSide = 64,
    train: Train = 0.8,
    validation: Validation = 0.1,
    test: Test = 0.1,
    json_: Json = False,
) -> None:
    """The predecessor's frames as .parquet or .jsonl: reference_list, reference_list_bad, image0, image1, label0 …"""
    from prefgen.history.collect import Frames

    source = Frames(paths, images, queries=queries)
    _collect(source, out, (min_liked, min_disliked, min_side_px), (train, validation, test), json_)


@app.command()
def folders(
    root: Annotated[Path, typer.Argument(parser=given_path, metavar="ROOT", help="Holds one folder a person.")],
    out: Out,
    min_liked: MinLiked = 1,
    min_disliked: MinDisliked = 0,
    min_side_px: MinSide = 64,
    train: Train = 0.8,
    validation: Validation = 0.1,
    test: Test = 0.1,
    json_: Json = False,
) -> None:
    """Folders of one's own: ROOT/somebody/likes/ and ROOT/somebody/dislikes/."""
    from prefgen.history.collect import PersonFolders

    _collect(PersonFolders(root), out, (min_liked, min_disliked, min_side_px), (train, validation, test), json_)


@app.command()
def join(
    paths: Annotated[list[Path], typer.Argument(parser=given_path, metavar="FOLDER", help="Folders of people.")],
    out: Out,
    apart: Annotated[
        bool, typer.Option("--apart", help="Put the folder's name before each user's: equal names are not one person.")
    ] = False,
    min_liked: MinLiked = 1,
    min_disliked: MinDisliked = 0,
    min_side_px: MinSide = 64,
    train: Train = 0.8,
    validation: Validation = 0.1,
    test: Test = 0.1,
    json_: Json = False,
) -> None:
    """Folders of people into one: shards of a run, or real and simulated people together."""
    from prefgen.history.collect import PeopleFolders

    source = PeopleFolders(paths, apart=apart)
    _collect(source, out, (min_liked, min_disliked, min_side_px), (train, validation, test), json_)


@app.command()
def agents(
    out: Out,
    n_people: Annotated[int, typer.Option("--people", min=1, help="How many simulated people.")],
    painter: Annotated[
        str, typer.Option("--painter", help="procedural, or a diffusers pipeline: a folder or a hub name.")
    ] = "procedural",
    side_px: Annotated[int, typer.Option("--side-px", min=16, help="The pictures' side.")] = 64,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Sampling steps of a pipeline.")] = 30,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures a pipeline paints at once.")] = 4,
    device: Annotated[str, typer.Option("--device", help="Where a pipeline or local language model runs.")] = "cpu",
    dtype: Annotated[
        str, typer.Option("--dtype", help="A pipeline's numbers: float32, float16, bfloat16.")
    ] = "float32",
    llm_url: Annotated[
        str | None, typer.Option("--llm-url", help="Profiles from an OpenAI-compatible endpoint, such as http://…/v1.")
    ] = None,
    llm: Annotated[
        str | None, typer.Option("--llm", help="The endpoint's model; without --llm-url a local one by folder or name.")
    ] = None,
    shard: Annotated[str, typer.Option("--shard", help="1/8: of eight equal shares the first.")] = "1/1",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other people.")] = 0,
    min_liked: MinLiked = 1,
    min_disliked: MinDisliked = 1,
    train: Train = 0.8,
    validation: Validation = 0.1,
    test: Test = 0.1,
    json_: Json = False,
) -> None:
    """Simulated people: profiles sampled or written by a language model, pictures painted. Goes on after a kill.

    A key for the endpoint is read from PREFGEN_LLM_API_KEY and kept nowhere.
    """
    log_to_stderr()
    from prefgen.recipes.agents_at_scale import AgentPeople, DiffusersPainter, ProceduralPainter

    paints = (
        ProceduralPainter(side_px=side_px)
        if painter == "procedural"
        else DiffusersPainter(
            painter, side_px=side_px, n_steps=steps, batch_size=batch_size, device=device, dtype=dtype
        )
    )
    place, n_shards = _shard(shard)
    source = AgentPeople(
        n_people=n_people,
        painter=paints,
        writer=_writer(llm_url, llm, device),
        seed=seed,
        shard=place,
        n_shards=n_shards,
    )
    _collect(source, out, (min_liked, min_disliked, min(side_px, 64)), (train, validation, test), json_)


@app.command()
def unpack(paths: Sources, out: Out, json_: Json = False) -> None:
    """Unpack archives of pictures safely: tars, or the parts of one. Links, ways out, bombs and pickles are refused."""
    log_to_stderr()
    from prefgen.history.collect import unpack as run

    counts = run(paths, out)
    emit(counts, as_json=json_, lines=[f"{name}: {n}" for name, n in counts.items()])


@app.command()
def people(folder: Folder, json_: Json = False) -> None:
    """Who is in a folder of people: split, name, how many pictures on each side."""
    log_to_stderr()
    from prefgen.history.collect import people_in

    told = [_told(person) for person in people_in(folder)]
    lines = [f"{row['split']:<10} {row['user_id']}  {row['liked']} liked, {row['disliked']} disliked" for row in told]
    emit(told, as_json=json_, lines=lines)


@app.command()
def manifest(
    folder: Folder,
    user: Annotated[str, typer.Option("--user", help="Whose: a user_id that `prefgen data people` lists.")],
    out: Annotated[Path, typer.Option("--out", "-o", parser=given_path, metavar="JSONL", help="A file inside FOLDER.")],
) -> None:
    """One person's history as a manifest for --manifest of every other verb. It lies in FOLDER, as do its pictures."""
    log_to_stderr()
    from prefgen.core import InputError
    from prefgen.history.collect import people_in

    if out.parent.resolve() != folder.resolve() or out.suffix != ".jsonl":
        raise InputError(f"expected a .jsonl file in {folder}, got {out}", hint="a manifest lies beside its pictures")
    found = next((person for person in people_in(folder) if person.user_id == user), None)
    if found is None:
        raise InputError(f"no user {user!r} in {folder}", hint=f"prefgen data people {folder} lists them")
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.items), encoding="utf-8")
    emit({"manifest": str(out)}, as_json=False, lines=[str(out)])


@app.command()
def shards(
    folder: Folder,
    out: Out,
    people_per_shard: Annotated[int, typer.Option("--people-per-shard", min=1, help="Samples a tar.")] = 100,
    json_: Json = False,
) -> None:
    """A folder of people as WebDataset tars, a person a sample."""
    log_to_stderr()
    from prefgen.history.collect import write_shards

    paths = [str(path) for path in write_shards(folder, out, people_per_shard=people_per_shard)]
    emit({"shards": paths}, as_json=json_, lines=paths)


def _shard(text: str) -> tuple[int, int]:
    """`2/8` as (1, 8)."""
    from prefgen.core import InputError

    place, _, n_shards = text.partition("/")
    if not (place.isdigit() and n_shards.isdigit() and 1 <= int(place) <= int(n_shards)):
        raise InputError(f"expected a shard such as 1/8, got {text!r}")
    return int(place) - 1, int(n_shards)


def _writer(url: str | None, name: str | None, device: str) -> Writer | None:
    """Who writes profiles, or None: they are sampled."""
    from prefgen.agents.writers import EndpointWriter, LocalWriter
    from prefgen.core import InputError

    if url is None:
        return None if name is None else LocalWriter(name, device=device)
    if name is None:
        raise InputError("expected the endpoint's model", hint="--llm NAME beside --llm-url")
    return EndpointWriter(url, name)


def _told(person: Any) -> dict[str, object]:
    sides = [row["side"] for row in person.items]
    counts = {"liked": sides.count("like"), "disliked": sides.count("dislike"), "targets": len(person.targets)}
    return {"user_id": person.user_id, "split": person.split, **counts}


def _collect(
    source: Source, out: Path, least: tuple[int, int, int], shares: tuple[float, float, float], json_: bool
) -> None:
    """Collects a source by the options that all sources share; counts go to stderr step by step, and to stdout."""
    log_to_stderr()
    from prefgen.history.collect import Quality, Rules, collect

    rules = Rules(
        min_liked=least[0],
        min_disliked=least[1],
        quality=Quality(min_side_px=least[2]),
        train=shares[0],
        validation=shares[1],
        test=shares[2],
    )
    head: Any = collect(source, out, rules, say=note)
    emit({"folder": str(out), "counts": head["counts"]}, as_json=json_, lines=[str(out), os.fspath(out / "data.json")])
