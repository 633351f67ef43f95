"""The fenced blocks of the project's pages, and their commands one by one: what stands on a page is what is run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
SHELL, PYTHON = ("sh", "bash"), ("python",)
SHOWN = ("", "json")
"""Kinds of blocks that show something and are not run: layouts, and what is printed."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: where it stands, the language behind its fence, and its text."""

    page: str
    line: int
    kind: str
    text: str

    def run(self, swaps: dict[str, str] | None = None, **given: Any) -> dict[str, Any]:
        """Runs a Python block and gives all its names. `swaps` are the parts of its text that are replaced, `given` the
        names that the page's words, not its code, define."""
        names: dict[str, Any] = dict(given)
        exec(compile("\n" * self.line + swapped(self.text, swaps or {}), self.page, "exec"), names)
        return names


def page_text(page: str) -> str:
    """A page's Markdown."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *kinds: str) -> list[Block]:
    """A page's blocks of some kinds, or all, in their order."""
    text = page_text(page)
    found = [
        Block(page=page, line=text.count("\n", 0, hit.start()) + 1, kind=hit[1], text=hit[2])
        for hit in FENCE.finditer(text)
    ]
    return [block for block in found if not kinds or block.kind in kinds]


def commands_of(text: str) -> list[str]:
    """A shell text's commands: continued lines joined, comments and blank lines left out."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line for line in (re.sub(r"\s+#.*|^#.*", "", line).strip() for line in lines) if line]


def commands(page: str) -> list[str]:
    """The commands of a page's shell blocks, in their order."""
    return [command for block in blocks(page, *SHELL) for command in commands_of(block.text)]


def words_of(command: str) -> list[str]:
    """A command's words as a shell hands them over, patterns opened."""
    return [word for part in shlex.split(command) for word in (sorted(glob(part)) if "*" in part else [part])]


def swapped(text: str, swaps: dict[str, str]) -> str:
    """The text with parts replaced; a part that is not there (any more) fails."""
    for old, new in swaps.items():
        assert old in text, f"{old!r} is not in\n{text}"
        text = text.replace(old, new)
    return text
