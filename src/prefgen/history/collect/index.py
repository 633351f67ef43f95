"""The index of a collection under way: opinions and pictures on disk, so that memory stays flat and a kill loses
nothing. Each batch is one transaction that also says how far its part has been read.

A killed process loses nothing. A machine that loses its power may: nothing here waits for the disk."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from prefgen.core import DataError, InputError
from prefgen.history.collect.checked import Checked, Quality, checked_picture, file_hash
from prefgen.history.collect.entries import Batch, Dropped, Entry, Seen, usable_prompt, usable_time

_CACHE_KIB = 16 * 1024
_TABLES = """
CREATE TABLE IF NOT EXISTS run (description TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (part TEXT PRIMARY KEY, n_done INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pictures
  (id INTEGER PRIMARY KEY, pixels TEXT UNIQUE, file TEXT UNIQUE, path TEXT, kept INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS opinions
  (id INTEGER PRIMARY KEY, user TEXT, picture INTEGER, rival INTEGER, role TEXT, prompt TEXT, time REAL);
CREATE INDEX IF NOT EXISTS by_user ON opinions (user, id);
CREATE TABLE IF NOT EXISTS attributes (user TEXT PRIMARY KEY, negative TEXT, positive TEXT) WITHOUT ROWID;
"""
_OPINIONS = """
SELECT o.user, o.picture, o.rival, o.role, o.prompt, o.time, p.pixels, p.path
FROM opinions o JOIN pictures p ON p.id = o.picture ORDER BY o.user, o.id
"""
Opinion = tuple[str, int, "int | None", str, "str | None", "float | None", str, str]
"""user, picture, rival (of a choice), role (like, dislike, target), prompt, time, pixels (sha256), path."""


class Index:
    """The opinions collected so far. `folder` gets `images/`; the index itself lies in `folder/.work`."""

    def __init__(
        self, folder: Path, source: Mapping[str, object], quality: Quality, rules: Mapping[str, object] | None = None
    ) -> None:
        self.folder, self.quality = folder, quality
        read = {"source": source, "quality": asdict(quality)}
        self._as_read, self._as_kept = (json.dumps(told, sort_keys=True) for told in (read, {**read, "rules": rules}))
        self.path = folder / ".work" / "index.sqlite"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.database = sqlite3.connect(self.path, timeout=0.2, isolation_level=None)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self.database.close()
            if "locked" in str(error):
                raise InputError(f"another run is at work in {folder}", hint="wait for it, or end it") from error
            raise DataError(
                f"{self.path} is damaged: {error}", hint=f"remove {self.path.parent} and start anew"
            ) from None
        except InputError:
            self.database.close()
            raise

    def _open(self) -> None:
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            self.database.execute(f"PRAGMA {pragma}")
        self.database.execute("BEGIN IMMEDIATE")
        self.database.execute("COMMIT")
        self.database.executescript(_TABLES)
        found = self.database.execute("SELECT description FROM run").fetchone()
        if found is None:
            self.database.execute("INSERT INTO run VALUES (?)", (self._as_read,))
        elif found[0] not in (self._as_read, self._as_kept):
            raise InputError(
                f"{self.folder} holds an unfinished run of other sources or settings",
                hint="repeat that command, or give another folder",
            )

    def done(self) -> dict[str, int]:
        """How many rows of each part are in."""
        return dict(self.database.execute("SELECT part, n_done FROM parts"))

    def counts(self) -> dict[str, int]:
        """What was counted while rows came in."""
        return dict(self.database.execute("SELECT name, n FROM counts ORDER BY name"))

    def add(self, batch: Batch) -> None:
        """Puts a batch in: pictures into files first, then everything else at once or not at all."""
        with self.whole():
            for entry in batch.entries:
                self._count("rows")
                reason = entry.reason if isinstance(entry, Dropped) else self._add_entry(entry)
                self._count(f"dropped {reason}" if reason else "kept")
            self.database.execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", (batch.part, batch.n_done))

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What is done inside happens at once or not at all."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    def people(self) -> Iterator[tuple[str, list[Opinion]]]:
        """Every user, in the order of their names, with all their opinions in the order met. No picture is kept yet."""
        self.database.execute("UPDATE pictures SET kept = 0 WHERE kept")
        for user, opinions in groupby(self.database.execute(_OPINIONS), key=lambda row: row[0]):
            yield user, list(opinions)

    def attributes(self, user: str) -> tuple[str, str] | None:
        """A user's taste in words, negative first."""
        return self.database.execute("SELECT negative, positive FROM attributes WHERE user = ?", (user,)).fetchone()

    def keep(self, pictures: set[int]) -> None:
        """Marks pictures that the finished folder needs."""
        self.database.executemany(
            "UPDATE pictures SET kept = 1 WHERE id = ?", [(number,) for number in sorted(pictures)]
        )

    def remove_unkept(self) -> int:
        """Deletes the files of pictures that nobody kept needs; returns how many stay. From then on the rules stand."""
        self.database.execute("UPDATE run SET description = ?", (self._as_kept,))
        for (path,) in self.database.execute("SELECT path FROM pictures WHERE NOT kept"):
            (self.folder / path).unlink(missing_ok=True)
        return self.database.execute("SELECT count(*) FROM pictures WHERE kept").fetchone()[0]

    def close(self) -> None:
        """Lets the index go; it stays on disk."""
        self.database.close()

    def _count(self, name: str) -> None:
        self.database.execute("INSERT INTO counts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1", (name,))

    def _add_entry(self, entry: Entry) -> str | None:
        """Puts one entry in, or says why not."""
        if not entry.user_id.strip():
            return "no_user"
        if not all(usable_prompt(seen.prompt)[0] for seen in (*entry.seen, *entry.targets)):
            return "bad_caption"
        found = [self._picture(seen.picture) for seen in entry.seen]
        if entry.is_choice:
            bad = next((number for number in found if isinstance(number, str)), None)
            if bad is not None or found[0] == found[1]:
                return bad or "same_picture_twice"
        rivals = found[::-1] if entry.is_choice else [None] * len(found)
        n_in = sum(self._opinion(entry.user_id, *row) for row in zip(entry.seen, found, rivals))
        for target in entry.targets:
            n_in += self._opinion(entry.user_id, target, self._picture(target.picture), None, "target")
        if entry.attributes is not None:
            self.database.execute(
                "INSERT OR REPLACE INTO attributes VALUES (?, ?, ?)", (entry.user_id, *entry.attributes)
            )
        return None if n_in else "no_picture"

    def _opinion(
        self, user: str, seen: Seen, picture: int | str, rival: int | str | None, role: str | None = None
    ) -> bool:
        if isinstance(picture, str):
            self._count(f"pictures {picture}")
            return False
        row = (user, picture, rival, role or seen.side, usable_prompt(seen.prompt)[1], usable_time(seen.time))
        self.database.execute(
            "INSERT INTO opinions (user, picture, rival, role, prompt, time) VALUES (?, ?, ?, ?, ?, ?)", row
        )
        return True

    def _picture(self, data: bytes) -> int | str:
        """The picture's number, its file written if it is new; or the reason to drop it."""
        known = self.database.execute("SELECT id FROM pictures WHERE file = ?", (file_hash(data),)).fetchone()
        if known is None:
            checked = checked_picture(data, self.quality)
            if isinstance(checked, str):
                return checked
            known = self.database.execute("SELECT id FROM pictures WHERE pixels = ?", (checked.pixels,)).fetchone()
            if known is None:
                return self._new_picture(data, checked)
        self._count("pictures met again")
        return known[0]

    def _new_picture(self, data: bytes, checked: Checked) -> int:
        path = picture_path(checked.file, checked.suffix)
        write_whole(self.folder / path, data)
        row = (checked.pixels, checked.file, path)
        number = self.database.execute("INSERT INTO pictures (pixels, file, path) VALUES (?, ?, ?)", row).lastrowid
        return int(number or 0)


def picture_path(sha256: str, suffix: str) -> str:
    """Where a collected picture lies in its folder: `images/ab/<sha256 of the file>.<suffix>`."""
    return f"images/{sha256[:2]}/{sha256}.{suffix}"


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all; one of that size that is there already stays."""
    try:
        if path.stat().st_size == len(data):
            return
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(data)
    os.replace(unfinished, path)
