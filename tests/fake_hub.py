"""The hub without a network: what is uploaded lies where the hub's client keeps what it has downloaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest


class FakeHub:
    """Stands in for `huggingface_hub.HfApi`; `error` is raised in place of an upload."""

    def __init__(self, cache: Path) -> None:
        self.cache, self.error = cache, None
        self.tokens: list[Any] = []
        self.private: dict[str, bool] = {}
        self.n_commits = 0

    def __call__(self, token: Any = None, **_: Any) -> FakeHub:
        """A client."""
        self.tokens.append(token)
        return self

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        """Remembers who may see it."""
        assert exist_ok
        self.private.setdefault(repo_id, private)

    def upload_folder(self, *, repo_id: str, folder_path: str, revision: Any, commit_message: str) -> str:
        """Copies the folder: blobs by hash, a snapshot of links to them, and the branch's commit."""
        if self.error is not None:
            raise self.error
        self.n_commits += 1
        home, commit = self.home(repo_id), hashlib.sha1(f"{self.n_commits} {commit_message}".encode()).hexdigest()
        for name in ("refs", "blobs"):
            (home / name).mkdir(parents=True, exist_ok=True)
        (home / "refs" / "main").write_text(commit)
        for path in (p for p in Path(folder_path).rglob("*") if p.is_file()):
            blob = home / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            blob.write_bytes(path.read_bytes())
            link = home / "snapshots" / commit / path.relative_to(folder_path)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
        return f"https://huggingface.co/{repo_id}/commit/{commit}"

    def home(self, repo_id: str) -> Path:
        """Where a name's files lie."""
        return self.cache / f"models--{repo_id.replace('/', '--')}"

    def snapshot(self, repo_id: str) -> Path:
        """The folder that was uploaded last."""
        return self.home(repo_id) / "snapshots" / (self.home(repo_id) / "refs" / "main").read_text()

    def files(self, repo_id: str) -> dict[str, bytes]:
        """Everything that is there, by name."""
        root = self.snapshot(repo_id)
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def installed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The fake in the real one's place, and no network, said so."""
    fake = FakeHub(cache)
    monkeypatch.setattr(huggingface_hub, "HfApi", fake)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return fake
