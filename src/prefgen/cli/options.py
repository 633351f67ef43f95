"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Model = Annotated[str, typer.Option("--model", help="embedded, a model folder, or a hub name.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option("--dtype", help="The generator's numbers: float32, float16 or bfloat16.")]


def given_path(text: str) -> Path:
    """A path from an option. An empty one, an unset variable more often than a wish, would mean this very folder."""
    if not text.strip():
        raise typer.BadParameter("expected a path, got an empty text")
    return Path(text)


def given_name(text: str) -> str:
    """A name from an option; an empty one would mean this very folder."""
    if not text.strip():
        raise typer.BadParameter("expected a name or a folder, got an empty text")
    return text


Liked = Annotated[
    list[Path] | None,
    typer.Option(
        "--liked",
        parser=given_path,
        metavar="PATH",
        help="A folder or a picture that the person likes; may be repeated.",
    ),
]
Disliked = Annotated[
    list[Path] | None,
    typer.Option(
        "--disliked", parser=given_path, metavar="PATH", help="A folder or a picture that the person dislikes."
    ),
]
Manifest = Annotated[
    Path | None,
    typer.Option("--manifest", parser=given_path, metavar="PATH", help="A .jsonl or .csv file of opinions or choices."),
]
ProfilePath = Annotated[
    Path | None, typer.Option("--profile", parser=given_path, metavar="PATH", help="A profile file.")
]
Adapters = Annotated[
    str | None,
    typer.Option(
        "--adapters",
        parser=given_name,
        metavar="NAME",
        help="Published adapters to fit people to, a hub name or a folder, in place of adapters fitted to them.",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the first picture; the next have seed + 1, …")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Sampling steps (default: the model's).")]
Guidance = Annotated[float | None, typer.Option("--guidance", help="Guidance towards the prompt.")]
LikeStrength = Annotated[float | None, typer.Option("--like-strength", help="How strongly likes are heard; 0: not.")]
UserStart = Annotated[
    float | None,
    typer.Option("--user-start", help="Share of the steps after which the person is heard: later keeps more subject."),
]
UserEnd = Annotated[
    float | None, typer.Option("--user-end", help="Share of the steps after which the person is heard no more.")
]
Variety = Annotated[
    float | None, typer.Option("--variety", help="Share of pictures that show one facet of the taste, 0 to 1.")
]
DislikeStrength = Annotated[
    float | None, typer.Option("--dislike-strength", help="How strongly dislikes are heard; 0: not.")
]
