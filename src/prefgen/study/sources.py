"""Pairs of pictures to compare: of two methods of bench runs, or of two folders with equal file names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from prefgen.core import DataError, History, InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Two pictures of one prompt. `person` is whom they were made for, `source` tells the pair from others."""

    source: str
    a: Image.Image
    b: Image.Image
    prompt: str | None = None
    person: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """All pairs of methods `a` and `b`, and the liked and disliked pictures of each person who has any."""

    a: str
    b: str
    pairs: tuple[Pair, ...]
    liked: Mapping[str, tuple[Image.Image, ...]] = field(default_factory=dict)
    disliked: Mapping[str, tuple[Image.Image, ...]] = field(default_factory=dict)


def pairs_of(a: str, b: str, history: History | None = None) -> Pairs:
    """Pairs from two texts that are each `RUN:METHOD` (a folder of `prefgen bench --out` and a method in it) or a
    folder of PNG files.

    Folders are paired by file name, pictures of runs by person, prompt and seed. `history` is whom the pictures of
    folders were made for, if for somebody.

    Raises:
        InputError: a text that is neither, one of each kind, the same twice, or nothing in common.
        DataError: two pictures of different size, or histories that differ: the pair could not be judged blindly.
    """
    if a == b:
        raise InputError(f"expected two methods to compare, got {a!r} twice")
    are_folders = [Path(text).is_dir() and not (Path(text) / "pictures").is_dir() for text in (a, b)]
    if all(are_folders):
        found = _of_folders(Path(a), Path(b), history)
    elif any(are_folders):
        raise InputError(f"expected two runs or two folders of PNG files, got {a!r} and {b!r}")
    elif history is not None:
        raise InputError("expected no history with runs, which have their own", hint="leave --liked and --disliked out")
    else:
        found = _of_runs(a, b)
    for pair in found.pairs:
        if pair.a.size != pair.b.size:
            raise DataError(
                f"expected two pictures of one size for {pair.source}, got {pair.a.size} and {pair.b.size} pixels",
                hint="scale one folder to the size of the other: a size would tell the side",
            )
    return found


def _of_folders(a: Path, b: Path, history: History | None) -> Pairs:
    from prefgen.history import load_picture

    names = sorted({p.name for p in a.glob("*.png")} & {p.name for p in b.glob("*.png")})
    if not names:
        raise InputError(f"expected PNG files of equal names in {a} and {b}, got none", hint="or give RUN:METHOD")
    person = None if history is None else "1"
    pairs = tuple(
        Pair(
            source=name,
            a=load_picture(a / name),
            b=load_picture(b / name),
            prompt=_prompt_of(a / name, b / name),
            person=person,
        )
        for name in names
    )
    liked, disliked = (
        {} if history is None else {"1": tuple(item.image for item in items)}
        for items in ((history.liked, history.disliked) if history else ((), ()))
    )
    first, second = _told_apart(
        (a.resolve().name, b.resolve().name), (a.resolve().parent.name, b.resolve().parent.name)
    )
    return Pairs(a=first, b=second, pairs=pairs, liked=liked, disliked=disliked)


def _prompt_of(a: Path, b: Path) -> str | None:
    """The prompt that two PNG files tell, as `prefgen generate` writes them; None unless both tell the same."""
    told = []
    for path in (a, b):
        with Image.open(path) as image:
            told.append(image.info.get("prompt"))
    return told[0] if told[0] == told[1] and isinstance(told[0], str) and told[0].strip() else None


def _of_runs(a: str, b: str) -> Pairs:
    from prefgen.benchmark.kept import read_kept

    (run_a, method_a), (run_b, method_b) = _split(a), _split(b)
    kept_a, kept_b = read_kept(run_a, method_a), read_kept(run_b, method_b)
    others = {(p.person, p.kind, p.prompt, p.seed): p for p in kept_b.pictures}
    pairs = tuple(
        Pair(
            source=f"{p.person} / {p.kind} / {p.seed}",
            a=Image.fromarray(p.pixels),
            b=Image.fromarray(other.pixels),
            prompt=p.prompt,
            person=p.person,
        )
        for p in kept_a.pictures
        if (other := others.get((p.person, p.kind, p.prompt, p.seed))) is not None
    )
    if not pairs:
        raise InputError(f"expected the same people, prompts and seeds in {a} and {b}, got nothing in common")
    people = list(dict.fromkeys(str(pair.person) for pair in pairs))
    for person in people:
        if kept_a.histories[person].digest != kept_b.histories[person].digest:
            raise DataError(f"expected one history of {person} in {a} and {b}, got two")
    liked = {p: tuple(map(Image.fromarray, kept_a.histories[p].liked)) for p in people}
    disliked = {p: tuple(map(Image.fromarray, kept_a.histories[p].disliked)) for p in people}
    first, second = _told_apart((method_a, method_b), (run_a.resolve().name, run_b.resolve().name))
    return Pairs(a=first, b=second, pairs=pairs, liked=liked, disliked=disliked)


def _split(text: str) -> tuple[Path, str]:
    from prefgen.benchmark.kept import kept_methods

    run, colon, method = text.rpartition(":")
    if colon and run and method and Path(run).is_dir():
        return Path(run), method
    known = kept_methods(Path(text)) if Path(text).is_dir() else []
    hint = f"for example {text}:{known[0].rpartition('-')[0]}" if known else "for example runs/bench:prefgen"
    raise InputError(f"expected RUN:METHOD or a folder of PNG files, got {text!r}", hint=hint)


def _told_apart(names: tuple[str, str], places: tuple[str, str]) -> tuple[str, str]:
    """Two names; where they are equal, with where they come from."""
    if names[0] != names[1]:
        return names
    first, second = (f"{place}/{name}" for place, name in zip(places, names))
    return (first, second) if first != second else (f"{first} (a)", f"{second} (b)")
