"""Verbs that paint: generate, demo."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli.opening import given_person, open_model
from prefgen.cli.options import (
    Device,
    Disliked,
    DislikeStrength,
    Dtype,
    Guidance,
    Json,
    Liked,
    LikeStrength,
    Manifest,
    Model,
    Out,
    ProfilePath,
    Seed,
    Steps,
    UserEnd,
    UserStart,
    Variety,
)
from prefgen.cli.output import emit, note


def generate(
    prompt: Annotated[str, typer.Argument(help="What to paint; - reads it from stdin.")],
    liked: Liked = None,
    disliked: Disliked = None,
    profile: ProfilePath = None,
    manifest: Manifest = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many pictures.")] = 1,
    seed: Seed = None,
    out: Out = Path("out"),
    negative: Annotated[str | None, typer.Option("--negative", help="What not to paint.")] = None,
    like_strength: LikeStrength = None,
    dislike_strength: DislikeStrength = None,
    user_start: UserStart = None,
    user_end: UserEnd = None,
    variety: Variety = None,
    guidance: Guidance = None,
    user_guidance: Annotated[
        float | None, typer.Option("--user-guidance", help="Guide towards the person separately (half as slow again).")
    ] = None,
    steps: Steps = None,
    model: Model = "embedded",
    device: Device = "auto",
    dtype: Dtype = "float32",
    json_: Json = False,
) -> None:
    """Paint a prompt for a person. Prints the files, one a line.

    Without a person it is the prompt alone. The PNG files tell prompt, seed, settings, profile and model.
    """
    from prefgen.pipeline import save_png

    if prompt == "-":
        prompt = sys.stdin.read().strip()
    prefgen = open_model(model, device, dtype, quiet=json_)
    person = given_person(prefgen, profile, liked, disliked, manifest)
    out.mkdir(parents=True, exist_ok=True)
    if person is None:
        note("nobody in particular: give --liked and --disliked, or --profile, to paint for a person")
    settings = {
        "negative_prompt": negative,
        "like_strength": like_strength,
        "dislike_strength": dislike_strength,
        "user_start": user_start,
        "user_end": user_end,
        "variety": variety,
        "guidance_scale": guidance,
        "user_guidance_scale": user_guidance,
        "num_inference_steps": steps,
    }
    made = prefgen(prompt, profile=person, num_images_per_prompt=number, seed=seed, **settings)
    files = [
        str(save_png(image, out / f"{file_stem(prompt)}-{one}.png", prefgen.told_of(person, prompt, one, **settings)))
        for image, one in zip(made.images, made.seeds)
    ]
    data = {
        "prompt": prompt,
        "model": prefgen.sha256,
        "profile": None if person is None else person.digest,
        "unknown_words": [word._asdict() for word in prefgen.unknown_words(prompt)],
        "images": [{"file": path, "seed": one} for path, one in zip(files, made.seeds)],
    }
    emit(data, as_json=json_, lines=files)


def demo(
    out: Out = Path("out/demo"),
    prompt: Annotated[str, typer.Option("--prompt", help="What to paint.")] = "a fox by a lake",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed is another person and other pictures.")] = 3,
    steps: Steps = None,
    model: Model = "embedded",
    device: Device = "auto",
    dtype: Dtype = "float32",
    json_: Json = False,
) -> None:
    """Paint a contact sheet for a simulated person whom no training has met.

    The sheet shows their history, the prompt without them, with them and with somebody else, and what was understood.
    """
    prefgen = open_model(model, device, dtype, quiet=json_)
    from prefgen.pipeline import paint_demo

    summary = paint_demo(prefgen, out, prompt=prompt, seed=seed, num_inference_steps=steps)
    note(f"understood: {summary['in_words']}")
    emit(summary, as_json=json_, lines=[summary["sheet"]])


def file_stem(prompt: str) -> str:
    """A file name from a prompt: a few of its words, joined by hyphens."""
    words = re.findall(r"[^\W_]+", prompt.lower())
    return "-".join(words)[:48].rstrip("-") or "picture"
