"""Files that are there whole or not at all, and never in another one's place."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from prefgen.pipeline.atomic import write_new, write_whole


def test_a_new_file_never_takes_anothers_place(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.png"
    assert write_new(path, b"one")
    assert not write_new(path, b"two")
    assert path.read_bytes() == b"one"
    write_whole(path, b"three")
    assert path.read_bytes() == b"three"
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


def test_of_many_at_once_one_wins_and_its_file_is_whole(tmp_path: Path) -> None:
    path, won = tmp_path / "x.png", []
    threads = [
        threading.Thread(target=lambda k=k: write_new(path, bytes([k]) * 1000) and won.append(k)) for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert path.read_bytes() == bytes(won) * 1000
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_where_there_are_no_links_it_still_does_not_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert write_new(tmp_path / "x", b"one")
    assert not write_new(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"one"
