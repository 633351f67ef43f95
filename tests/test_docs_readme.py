"""Every command and the Python of README.md, on tiny models in the places of the real ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from conftest import plain
from pages import ROOT, blocks, commands, words_of
from prefgen import Profile
from prefgen.cli import starting
from prefgen.cli.main import status_of
from tiny_bench import N_USERS, with_tiny_bench
from tiny_own_data import start_folder
from tiny_untrained import save_adapters, save_base

PAGE = "README.md"
MAKE = [command for command in commands(PAGE) if command.startswith("make ")]
START = [command for command in commands(PAGE) if command.startswith("prefgen start ")]
TRAIN = [command for command in commands(PAGE) if command.startswith("prefgen train ")]
BENCH = [command for command in commands(PAGE) if command.startswith("prefgen bench ")]
PERSON = [command for command in commands(PAGE) if command not in (*MAKE, *START, *TRAIN, *BENCH)]
SHORT = ("--max-minutes", "0", "--set", "n_pictures=64", "--set", "n_users=8")
"""Time is up at the first place where a training can stop; few pictures are painted before."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that the page names, and a tiny random model in the embedded one's place."""
    embedded = start_folder(tmp_path / "model")
    monkeypatch.setattr("prefgen.pipeline.loading._embedded", lambda: embedded)
    monkeypatch.chdir(tmp_path)
    colours = {"likes/a.png": "red", "likes/b.jpg": "darkred", "likes/d.png": "crimson", "dislikes/c.png": "blue"}
    for name, colour in {**colours, "candidates/e.png": "navy", "candidates/f.png": "gold"}.items():
        Path(name).parent.mkdir(exist_ok=True)
        plain(colour).save(name)
    return tmp_path


def ran(command: str, *more: str) -> None:
    """Runs a `prefgen` command of the page with `more` words behind it."""
    name, *words = words_of(command)
    assert name == "prefgen"
    assert status_of([*words, *more]) == 0, command


def test_the_commands_are_these() -> None:
    assert tuple(len(some) for some in (MAKE, START, TRAIN, BENCH, PERSON)) == (2, 1, 2, 3, 4)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("command", MAKE)
def test_make_would_run_what_the_page_says(command: str) -> None:
    """Said, not done (`make -n`): they install from an index, and the tests do not run themselves."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}  # make's own
    done = subprocess.run([*words_of(command), "-n"], cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    last = done.stdout.strip().splitlines()[-1]
    assert {"make demo": ".venv/bin/prefgen demo -o out", "make test": '-m pytest -m "not slow"'}[command] in last


def test_python(here: Path) -> None:
    [block] = blocks(PAGE, "python")
    names = block.run()
    assert len(names["pictures"]) == len(names["model"].score(names["me"], names["pictures"])) == 4
    assert Profile.load("me.safetensors").digest == names["me"].digest
    assert len(names["me"]) == 4


def test_a_persons_commands_in_order(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = {}
    for command in PERSON:
        ran(command)
        out[command.split()[1]] = capsys.readouterr().out
    assert set(out) == {"generate", "profile", "rank", "explain"}
    files = out["generate"].split()
    assert len(files) == 4
    with Image.open(files[0]) as image:
        assert image.text["seed"] == "7"
    assert {row["image"] for row in json.loads(out["rank"])} == {"candidates/e.png", "candidates/f.png"}
    assert out["explain"].strip(), "of a random model, perhaps that it has no word for it"


def test_demo(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "`prefgen demo -o out`" in (ROOT / PAGE).read_text()
    ran("prefgen demo -o out")
    assert Path("out/sheet.png").is_file()


@pytest.mark.parametrize("command", START)
def test_start(command: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny Stable Diffusion stands for the published one, a tiny IP-Adapter for its. Two steps."""
    base, adapter = save_base("sd15", Path("base")), save_adapters(Path("ip-adapter"))
    assert starting.BASE == "stable-diffusion-v1-5/stable-diffusion-v1-5", "what the page calls Stable Diffusion 1.5"
    ran(command, "--base", str(base), "--ip-adapter", str(adapter), "--steps", "2", "--device", "cpu")
    assert len(capsys.readouterr().out.split()) == 4


@pytest.mark.parametrize("command", BENCH)
def test_bench(command: str, model, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny bench; its people are two."""
    with_tiny_bench(here / "weights", monkeypatch, model if "ablations" in command else None)
    ran(command, *N_USERS)
    if "--report" in command:
        assert len(list(Path("out").glob("*.html"))) == 1


def test_train(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = TRAIN
    ran(first, *SHORT, "--set", "ae_samples=32")
    assert capsys.readouterr().out.strip() == "unfinished: the same command resumes"
    assert list(Path("runs/embedded").glob("autoencoder*"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_train_on_from_what_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped weights themselves."""
    monkeypatch.chdir(tmp_path)
    _, second = TRAIN
    ran(second, *SHORT)
    assert capsys.readouterr().out.strip() == "unfinished: the same command resumes"
    assert Path("runs/more/model/user_encoder/config.json").is_file()
