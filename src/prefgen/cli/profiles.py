"""Verbs about a person: profile build, show, add, remove, edit, rebuild, share; explain; rank."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefgen.cli.opening import given_history, given_person, needed, open_model
from prefgen.cli.options import Device, Disliked, Json, Liked, Manifest, Model, Out, ProfilePath
from prefgen.cli.output import emit, note

if TYPE_CHECKING:
    from prefgen.pipeline import Explanation, PrefGen, Profile

app = typer.Typer(rich_markup_mode=None)

File = Annotated[Path, typer.Argument(help="A profile file.")]
NewFile = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write (default: the same file).")]
Words = list[str] | None


@app.command()
def build(
    out: Out,
    liked: Liked = None,
    disliked: Disliked = None,
    manifest: Manifest = None,
    model: Model = "embedded",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Make a profile from pictures."""
    prefgen = open_model(model, device, "float32", quiet=True)
    _save(needed(given_person(prefgen, None, liked, disliked, manifest)), out, json_)


@app.command()
def show(
    file: File,
    model: Annotated[
        str | None, typer.Option("--model", help="Also say how far they lie from what this model knows; none: do not.")
    ] = "embedded",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """List what a profile holds, and how far its pictures lie from what the model knows."""
    from prefgen.pipeline import Profile

    profile = Profile.load(file)
    data = _described(profile)
    if not profile.is_shared and model not in (None, "none"):
        data |= _known_by(profile, str(model), device)
    emit(data, as_json=json_, lines=_lines(data))


@app.command()
def add(
    file: File,
    liked: Liked = None,
    disliked: Disliked = None,
    manifest: Manifest = None,
    out: NewFile = None,
    model: Model = "embedded",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Add pictures to a profile."""
    from prefgen.core import InputError
    from prefgen.pipeline import Profile

    profile = Profile.load(file)
    more = given_history(liked, disliked, manifest)
    if more is None:
        raise InputError("expected pictures to add, got none", hint="give --liked, --disliked or --manifest")
    prefgen = open_model(model, device, "float32", quiet=True)
    _save(prefgen.with_embedding(profile.add_history(more)), out or file, json_)


@app.command()
def remove(
    file: File,
    images: Annotated[list[str], typer.Argument(help="Pictures, or the first digits of their hashes.")],
    out: NewFile = None,
    model: Model = "embedded",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Take pictures out of a profile."""
    from prefgen.pipeline import Profile

    profile = Profile.load(file)
    for image in images:
        profile = profile.remove(image)
    _save(open_model(model, device, "float32", quiet=True).with_embedding(profile), out or file, json_)


@app.command()
def edit(
    file: File,
    like: Annotated[Words, typer.Option("--like", help="A word the person likes; may be repeated.")] = None,
    dislike: Annotated[Words, typer.Option("--dislike", help="A word the person dislikes.")] = None,
    forget: Annotated[Words, typer.Option("--forget", help="A word that is neither, whatever pictures say.")] = None,
    out: NewFile = None,
    model: Model = "embedded",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Say something of a taste in words; commas part several words."""
    from prefgen.core import InputError
    from prefgen.pipeline import Profile
    from prefgen.pipeline.words import warning_of

    said = {kind: _parted(words) for kind, words in (("like", like), ("dislike", dislike), ("forget", forget))}
    if not any(said.values()):
        raise InputError("expected words to say, got none", hint="give --like, --dislike or --forget")
    profile = Profile.load(file).edit(**said)
    prefgen = open_model(model, device, "float32", quiet=True)
    for unknown in prefgen.unknown_words([word for words in said.values() for word in words]):
        note(f"warning: {warning_of(unknown)}")
    _save(prefgen.with_embedding(profile), out or file, json_)


def _parted(words: Words) -> list[str]:
    return [part for word in words or [] for part in word.split(",") if part.strip()]


@app.command()
def rebuild(
    file: File, out: NewFile = None, model: Model = "embedded", device: Device = "auto", json_: Json = False
) -> None:
    """Make another model's or version's profile this model's, from the pictures it holds."""
    _save(open_model(model, device, "float32", quiet=True).rebuild(file), out or file, json_)


@app.command()
def share(file: File, out: Out, model: Model = "embedded", device: Device = "auto", json_: Json = False) -> None:
    """Write a profile that can only paint: no pictures, prompts, comments or words in it."""
    from prefgen.pipeline import Profile

    profile = Profile.load(file)
    if profile.tokens is None:
        profile = open_model(model, device, "float32", quiet=True).with_embedding(profile)
    _save(profile.share(), out, json_)


def explain(
    profile: ProfilePath = None,
    liked: Liked = None,
    disliked: Disliked = None,
    manifest: Manifest = None,
    model: Model = "embedded",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Say what was understood of a person, in words with weights and confidence."""
    prefgen = open_model(model, device, "float32", quiet=True)
    person = needed(given_person(prefgen, profile, liked, disliked, manifest))
    understood = prefgen.explain(person)
    emit(understood.to_json(), as_json=json_, lines=_words(understood))


def rank(
    images: Annotated[list[str], typer.Argument(help="Pictures; - reads paths from stdin, one a line.")],
    profile: ProfilePath = None,
    liked: Liked = None,
    disliked: Disliked = None,
    manifest: Manifest = None,
    model: Model = "embedded",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Order pictures by how probably the person likes them, the best first."""
    prefgen = open_model(model, device, "float32", quiet=True)
    person = needed(given_person(prefgen, profile, liked, disliked, manifest))
    paths = [line.strip() for line in sys.stdin if line.strip()] if images == ["-"] else images
    rows = [{"image": path, "p_like": p} for path, p in zip(paths, prefgen.score(person, paths))]
    rows.sort(key=lambda row: -row["p_like"])
    emit(rows, as_json=json_, lines=(f"{row['p_like']:.3f}  {row['image']}" for row in rows))


def _save(profile: Profile, path: Path, as_json: bool) -> None:
    profile.save(path)
    note(repr(profile))
    emit({"file": str(path), **_described(profile)}, as_json=as_json, lines=[str(path)])


def _described(profile: Profile) -> dict[str, Any]:
    described: dict[str, Any] = {
        "profile": profile.digest,
        "model": profile.model_sha256,
        "kind": "shared" if profile.is_shared else "full",
        "embedded": profile.tokens is not None,
    }
    if profile.history is not None:
        names = ("sha256", "side", "weight", "time_s", "aspect", "prompt", "comment")
        items = [{name: getattr(item, name) for name in names} for item in profile.history.items]
        described |= {"items": items, "edits": profile.edits.to_json()}
    return described


def _known_by(profile: Profile, model: str, device: str) -> dict[str, Any]:
    """How far the pictures lie from what the model knows, and how far it is believed of them; None where it cannot
    tell, or is not there."""
    from prefgen.core import ModelError

    try:
        prefgen: PrefGen = open_model(model, device, "float32", quiet=True)
    except ModelError as error:
        note(f"warning: {error.message}; not said: how far the pictures lie from what it knows")
        return {"familiarity": None, "credence": None}
    if profile.model_sha256 != prefgen.sha256:
        note("warning: another model made this profile; `prefgen profile rebuild` reads its pictures again")
    found = prefgen.familiarity(profile)
    told = None if found is None else {**found.to_json(), "in_words": found.in_words()}
    return {"familiarity": told, "credence": prefgen.credence(profile)}


def _lines(data: dict[str, Any]) -> list[str]:
    lines = [f"profile {data['profile'][:12]} ({data['kind']}) of the model {data['model'][:12]}"]
    distant = (data.get("familiarity") or {}).get("ranks", [])
    for place, item in enumerate(data.get("items", [])):
        told = [f"{item['side']:<7}", item["sha256"][:12]]
        told += [f"weight {item['weight']:g}"] if item["weight"] != 1 else []
        told += [f"only the {item['aspect']}"] if item["aspect"] != "all" else []
        told += [f"rank {distant[place]:.2f}"] if distant else []
        told += [repr(item[name]) for name in ("prompt", "comment") if item[name]]
        lines.append("  " + "  ".join(told))
    lines += [f"  said to {kind}: {', '.join(words)}" for kind, words in data.get("edits", {}).items() if words]
    if data.get("familiarity"):
        lines.append(data["familiarity"]["in_words"])
    if data.get("credence") is not None:
        lines.append(
            f"pictures are judged {data['credence']:.0%} by what the model was taught, the rest by these pictures alone"
        )
    return lines


def _words(understood: Explanation) -> list[str]:
    sides = (("likes", understood.likes), ("dislikes", understood.dislikes))
    return [
        f"{side:<9}{word.word:<20}weight {word.weight:.2f}  confidence {word.confidence:.2f}{'  (said)' * word.said}"
        for side, words in sides
        for word in words
    ] or [understood.in_words()]
