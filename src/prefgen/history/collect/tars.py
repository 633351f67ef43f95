"""Picture archives unpacked without trusting them: tars, whole or cut into parts, into one folder.

Only regular files with a picture's, `.json` or `.txt` name come out, and only inside the folder. A link, a device, a
path that leads out, a sparse or oversized member and a pickled file each end the run with an error that names it.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from prefgen.core import DataError, InputError
from prefgen.history.collect.checked import MAX_FILE_BYTES
from prefgen.history.collect.pickles import refuse_pickle
from prefgen.history.inside import path_inside
from prefgen.history.pictures import picture_name
from prefgen.history.tables import naming

_PICTURES = {"png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm"}
_SIDE_FILES = {"json", "jsonl", "txt", "csv"}
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAX_HEADER_BYTES = 1 << 20
_MAX_JSON_BYTES = 2 << 30
MAX_RATIO = 20
"""Most bytes unpacked for each byte of the archive: pictures hardly compress, a bomb does."""
_SLACK_BYTES = 64 << 20
_PART = re.compile(r"(.+\.(?:tar|tgz|tar\.gz))[.\-_]?(?:part)?[.\-_]?(\d+|[a-z]{2,3})$", re.IGNORECASE)
_WHOLE = re.compile(r".+\.(?:tar|tgz|tar\.gz)$", re.IGNORECASE)


def unpack(paths: Sequence[Path], out: Path) -> dict[str, int]:
    """Unpacks archives (or folders of them) into `out`; returns how many members were `written`, `there` or `passed`.

    Parts that a splitter made of one archive (`x.tar.part-aa`, `x.tar.001`) are joined in the order of their names.
    What is there already is compared and left, so the same call goes on after a kill.

    Raises:
        InputError: there is no archive.
        DataError: an archive is damaged, or a member is not to be trusted; both are named.
    """
    counts: Counter[str] = Counter(written=0, there=0, passed=0)
    for parts in archives_in(paths):
        with naming(picture_name(parts[0])):
            _unpack_one(parts, out, counts)
    return dict(counts)


def archives_in(paths: Sequence[Path]) -> list[list[Path]]:
    """Archives by name, each as the list of its parts.

    Raises:
        InputError: a path does not exist, or no archive is found.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{picture_name(path)} does not exist", hint="check the path")
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    archives: dict[str, list[Path]] = {}
    for file in files:
        part = None if _WHOLE.fullmatch(file.name) else _PART.fullmatch(file.name)
        if part or _WHOLE.fullmatch(file.name):
            archives.setdefault(str(file.with_name(part.group(1)) if part else file), []).append(file)
    if not archives:
        raise InputError(
            f"no .tar in {', '.join(picture_name(path) for path in paths)}", hint="give tars, or parts of one"
        )
    return [sorted(parts, key=_part_order) for _, parts in sorted(archives.items())]


def _part_order(path: Path) -> tuple[int, str]:
    part = _PART.fullmatch(path.name)
    mark = part.group(2) if part else ""
    return (int(mark) if mark.isdigit() else 0, path.name)


class _Joined(io.RawIOBase):
    """The parts of one archive as one stream."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._waiting = list(parts)
        self._file: io.BufferedReader | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[override]
        while True:
            if self._file is None:
                if not self._waiting:
                    return 0
                self._file = self._waiting.pop(0).open("rb")
            n_read = self._file.readinto(buffer)
            if n_read:
                return n_read
            self._file.close()
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


class _Bounded(tarfile.TarInfo):
    """A member whose long names and extended headers, which tarfile reads into memory, have a bound."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        member = super().frombuf(buf, encoding, errors)
        if member.type in _HEADERS and member.size > _MAX_HEADER_BYTES:
            raise DataError(f"a header of {member.size:,} bytes", hint="no honest archive has one; leave it out")
        return member


def _unpack_one(parts: Sequence[Path], out: Path, counts: Counter[str]) -> None:
    bound = MAX_RATIO * sum(part.stat().st_size for part in parts) + _SLACK_BYTES
    n_bytes = 0
    stream = io.BufferedReader(_Joined(parts), 1 << 20)
    try:
        with stream, tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Bounded) as archive:
            for member in archive:
                n_bytes += max(member.size, 0)
                if n_bytes > bound:
                    raise DataError(
                        f"more than {bound:,} bytes come out", hint="this is no archive of pictures; leave it out"
                    )
                if member.isdir():
                    continue
                counts[_member(archive, member, out)] += 1
                archive.members = []  # type: ignore[attr-defined]  # else every header stays in memory
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"damaged or cut short: {told}", hint="download it again; are all parts there?") from error


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, out: Path) -> str:
    """Unpacks one member: `written`, `there` (the same bytes lie there) or `passed` over."""
    name = member.name if member.name.isprintable() else repr(member.name)
    with naming(f"member {name[:200]}"):
        if not member.isreg() or member.issparse():
            raise DataError(
                "neither a file nor a folder", hint="links and devices are not unpacked; leave the archive out"
            )
        refuse_pickle(PurePosixPath(member.name).name)
        suffix = PurePosixPath(member.name).suffix[1:].lower()
        if suffix not in _PICTURES | _SIDE_FILES:
            return "passed"
        if member.size > (MAX_FILE_BYTES if suffix in _PICTURES else _MAX_JSON_BYTES):
            raise DataError(f"{member.size:,} bytes are more than a {suffix} may have")
        out.mkdir(parents=True, exist_ok=True)
        path = path_inside(out, member.name)
        file = archive.extractfile(member)
        if file is None:
            raise DataError("no contents")
        return _stored(file, path)


def _stored(file, path: Path) -> str:
    """Streams a member into its place, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as written:
        while block := file.read(1 << 20):
            written.write(block)
    if not path.exists():
        os.replace(unfinished, path)
        return "written"
    same = _same_bytes(unfinished, path)
    unfinished.unlink()
    if not same:
        raise DataError("another file of this name was there", hint="unpack into an empty folder; names stand once")
    return "there"


def _same_bytes(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while block := a.read(1 << 20):
            if block != b.read(len(block)):
                return False
    return True
