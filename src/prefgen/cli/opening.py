"""Models and people from options."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefgen.cli.output import log_to_stderr

if TYPE_CHECKING:
    from prefgen.core import History, HistoryItem
    from prefgen.pipeline import PrefGen, Profile


def open_model(name: str, device: str, dtype: str, *, quiet: bool, **hub: Any) -> PrefGen:
    """The model, with a progress bar on the terminal unless `quiet`. `hub` as in `PrefGen.from_pretrained`."""
    log_to_stderr()
    from prefgen.pipeline import PrefGen
    from prefgen.pipeline.loading import without_loading_bars

    without_loading_bars()
    model = PrefGen.from_pretrained(name, device=device, dtype=dtype, **hub)
    model.pipe.set_progress_bar_config(disable=quiet or not sys.stderr.isatty())
    return model


def given_history(
    liked: Sequence[Path] | None,
    disliked: Sequence[Path] | None,
    manifest: Path | None,
    *,
    longest_px: int | None = None,
) -> History | None:
    """The history that options describe, or None if they describe none; pictures are kept as small as a profile's
    unless `longest_px` says otherwise."""
    from prefgen.core import InputError
    from prefgen.history import history_from_folders, history_from_manifest
    from prefgen.pipeline.stored import MAX_STORED_PX

    longest_px = longest_px or MAX_STORED_PX
    if manifest is not None:
        if liked or disliked:
            raise InputError("expected --manifest or --liked and --disliked, got both")
        return history_from_manifest(manifest, longest_px=longest_px)
    if not liked and not disliked:
        return None
    if all(len(paths or []) <= 1 and all(path.is_dir() for path in paths or []) for paths in (liked, disliked)):
        folders = (paths[0] if paths else None for paths in (liked, disliked))
        return history_from_folders(*folders, longest_px=longest_px)
    return _from_paths(liked or [], disliked or [], longest_px)


def given_person(
    model: PrefGen,
    profile: Path | None,
    liked: Sequence[Path] | None,
    disliked: Sequence[Path] | None,
    manifest: Path | None,
) -> Profile | None:
    """The person that options describe, or None if they describe nobody."""
    from prefgen.core import InputError
    from prefgen.pipeline import Profile

    if profile is not None:
        if liked or disliked or manifest is not None:
            raise InputError("expected --profile or pictures, got both", hint="prefgen profile add puts them together")
        return Profile.load(profile)
    history = given_history(liked, disliked, manifest)
    return None if history is None else model.profile(history=history)


def needed(person: Profile | None) -> Profile:
    """The person; raises `InputError` if there is none."""
    from prefgen.core import InputError

    if person is None:
        raise InputError("expected a person, got nobody", hint="give --profile, --manifest, or --liked and --disliked")
    return person


def _from_paths(liked: Sequence[Path], disliked: Sequence[Path], longest_px: int) -> History:
    """Folders and single pictures, mixed; the same picture counts once, on both sides it is refused."""
    from prefgen.core import ConflictError, History

    kept: dict[str, HistoryItem] = {}
    for side, paths in (("like", liked), ("dislike", disliked)):
        for path in paths:
            read = _one_folder if path.is_dir() else _one_picture
            part = read(path, None, longest_px) if side == "like" else read(None, path, longest_px)
            for item in part.items:
                there = kept.setdefault(item.sha256, item)
                if there.side != item.side:
                    raise ConflictError(
                        f"the same picture is liked ({there.source}) and disliked ({item.source})",
                        hint="remove one of the two",
                    )
    return History(items=tuple(kept.values()))


def _one_picture(liked: Path | None, disliked: Path | None, longest_px: int) -> History:
    from prefgen.history import history_from_items

    pictures = ([path] if path else None for path in (liked, disliked))
    return history_from_items(*pictures, longest_px=longest_px)


def _one_folder(liked: Path | None, disliked: Path | None, longest_px: int) -> History:
    from prefgen.history import history_from_folders

    return history_from_folders(liked, disliked, longest_px=longest_px)
