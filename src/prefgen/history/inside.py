"""Paths named by a file stay inside its folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from prefgen.core import InputError


def path_inside(root: Path, text: str, *, allow_outside: bool = False) -> Path:
    """The path `text` as written by a manifest in `root`; links are followed before judging where it leads.

    Raises:
        InputError: the path is blank, absolute or leads out of `root`, unless `allow_outside`.
    """
    if not text.strip() or "\0" in text:
        raise InputError(f"expected the path of a picture, got {text!r}")
    if allow_outside:
        return root / text
    absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).anchor
    if absolute or not _leads_inside(root, text):
        raise InputError(
            f"the path {text!r} leads out of the folder {root}",
            hint="use a path relative to that folder, or allow_outside=True if you trust the file",
        )
    return root / text


def _leads_inside(root: Path, text: str) -> bool:
    try:
        return (root / text).resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long
        return False
