"""Every block of every page is run by a test that is named here; every verb, option and name in the text exists."""

from __future__ import annotations

import importlib
import re
import shlex
from typing import Any

import pytest
import typer.main

from pages import FENCE, PAGES, PYTHON, ROOT, SHELL, SHOWN, blocks, commands, page_text
from prefgen.cli.main import app

RUN_BY: dict[str, tuple[str, ...]] = {
    "README.md": ("test_docs_readme",),
    "docs/backbones.md": ("test_docs_models", "test_recipes_full_presets"),
    "docs/benchmark.md": ("test_docs_benchmark",),
    "docs/data.md": ("test_docs_data",),
    "docs/day_one.md": ("test_cli_start",),
    "docs/hub.md": ("test_docs_hub",),
    "docs/language_models.md": ("test_docs_models",),
    "docs/scale.md": ("test_docs_scale",),
    "docs/study.md": ("test_docs_benchmark",),
    "docs/train_on_your_data.md": ("test_docs_own_data",),
}
"""Who runs a page's blocks. Each takes all of them from the page (`pages.blocks`, `pages.commands`) and fails on one
that it does not know."""
PROGRAMS = ("prefgen", "pip", "python", "make", "torchrun", "accelerate", "docker", "export", "RAY_ADDRESS=")
FOREIGN = {
    "torchrun": ("--standalone", "--nproc_per_node", "--nnodes", "--rdzv_backend", "--rdzv_endpoint"),
    "accelerate": ("--multi_gpu", "--num_processes", "--cpu", "--config_file"),
    "docker": ("--rm", "--network", "--read-only", "--tmpfs"),
    "pip": ("--index-url",),
    "benchmarks/full_size.py": ("--counted",),
}
"""Options of other programs that a page names."""


def verbs() -> dict[str, Any]:
    """Every verb of the command by its words, with its own parser."""
    found: dict[str, Any] = {}

    def add(path: str, command: Any) -> None:
        found[path] = command
        for name, below in getattr(command, "commands", {}).items():
            add(f"{path} {name}", below)

    add("prefgen", typer.main.get_command(app))
    return found


VERBS = verbs()
OPTIONS = {
    name: {option for p in command.params for option in (*p.opts, *p.secondary_opts)} for name, command in VERBS.items()
}


def inline(page: str) -> list[str]:
    """The code inside a page's sentences."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", FENCE.sub("", page_text(page)))]


def test_every_block_is_run_or_shown_and_every_page_has_somebody_who_runs_it() -> None:
    for page in PAGES:
        assert page_text(page).count("```") == 2 * len(blocks(page)), f"{page}: a fence that is not understood"
        for block in blocks(page):
            assert block.kind in (*SHELL, *PYTHON, *SHOWN), f"{page}, line {block.line}: {block.kind}"
            if block.kind in SHOWN:
                begins = [line for line in block.text.splitlines() if line.startswith(PROGRAMS)]
                assert not begins, f"{page}, line {block.line} shows commands that nothing runs"
    assert {page for page in PAGES if blocks(page, *SHELL, *PYTHON)} == set(RUN_BY)


@pytest.mark.parametrize("page", RUN_BY)
def test_whoever_runs_a_page_takes_every_kind_of_block_from_it(page: str) -> None:
    sources = [(ROOT / "tests" / f"{name}.py").read_text() for name in RUN_BY[page]]
    name = f'(?:PAGE|STUDY|"{re.escape(page)}")'
    shell, python = rf"commands\({name}\)|blocks\({name}, \*SHELL", rf"blocks\({name}, .*(?:\*PYTHON|\"python\")"
    for kinds, taken in ((SHELL, shell), (PYTHON, python)):
        if blocks(page, *kinds):
            named = [source for source in sources if f'"{page}"' in source]
            assert any(re.search(taken, source) for source in named), f"{page}: nobody takes its {kinds[0]} blocks"


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_have_their_verb_and_options(page: str) -> None:
    for code in [*inline(page), *commands(page)]:
        code = re.sub(r"^.* -m prefgen ", "prefgen ", code)
        if not re.match(r"prefgen [a-z]", code):
            continue
        words = shlex.split(code)
        n = max(k for k in (1, 2, 3) if k <= len(words) and " ".join(words[:k]) in VERBS)
        command = VERBS[" ".join(words[:n])]
        assert n > 1, f"{page}: {code} is no verb"
        assert not hasattr(command, "commands") or len(words) == n, f"{page}: {code} is no verb"
        unknown = [w for w in words[n:] if w.startswith("-") and w.split("=")[0] not in OPTIONS[" ".join(words[:n])]]
        assert not unknown, f"{page}: {code} has no {unknown}"


@pytest.mark.parametrize("page", PAGES)
def test_options_in_sentences_exist(page: str) -> None:
    known = {option for options in (*OPTIONS.values(), *FOREIGN.values()) for option in options}
    named = {option for code in inline(page) for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)}
    assert named <= known, named - known


@pytest.mark.parametrize("page", PAGES)
def test_names_of_the_package_exist(page: str) -> None:
    for dotted in {
        name for code in inline(page) for name in re.findall(r"(?<![\w/.])prefgen(?:\.[a-zA-Z_]\w*)+", code)
    }:
        if dotted == "prefgen.json" or dotted.endswith(".py"):
            continue
        module, _, name = dotted.rpartition(".")
        try:
            importlib.import_module(dotted)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), name), f"{page}: there is no {dotted}"


@pytest.mark.parametrize("page", PAGES)
def test_what_is_installed_by_name_is_an_extra(page: str) -> None:
    """Installing itself needs an index of packages, which no test has."""
    table = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\S+) = \[", table, re.M))
    assert set(re.findall(r"prefgen\[([\w-]+)\]", page_text(page))) <= extras
