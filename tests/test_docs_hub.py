"""Every command and Python block of docs/hub.md runs, in the order in which it stands there, on a stand-in hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import plain
from fake_hub import FakeHub, installed
from pages import PYTHON, ROOT, SHELL, blocks, commands_of, words_of
from prefgen.cli.main import status_of
from prefgen.core import ProfileError
from raw_choices import bytes_under
from tiny_own_data import start_folder

MODEL, ADAPTER = "someone/their-model", "someone/their-adapter"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The stand-in, and what the page's names stand for."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    start_folder(Path("MODEL"))
    Path("MODEL", "training_report.json").write_text('"a secret wish"')
    for name, colours in {"likes": ["red", "darkred"], "dislikes": ["blue"]}.items():
        Path(name).mkdir()
        for colour in colours:
            plain(colour).save(Path(name) / f"{colour}.png")
    return installed(tmp_path / "cache", monkeypatch)


def test_every_command_and_block_of_the_page_runs_in_order(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = blocks("docs/hub.md", *SHELL, *PYTHON)
    assert [block.kind for block in given] == ["sh", "python", "sh", "python", "sh", "python", "python"]
    for block in given:
        if block.kind in PYTHON:
            block.run()
            continue
        for line in commands_of(block.text):
            before = bytes_under(tmp_path)
            status = status_of(words_of(line)[1:])
            printed = capsys.readouterr()
            assert status == 0, f"{line}\n{printed.err}"
            assert "--dry-run" not in line or bytes_under(tmp_path) == before
    _check(hub)


def _check(hub: FakeHub) -> None:
    """What the page promises."""
    assert hub.private == {MODEL: True, ADAPTER: True}
    assert set(hub.files(ADAPTER)) == {
        "README.md",
        "export.json",
        "several_people.py",
        "like.safetensors",
        "dislike.safetensors",
    }
    assert {f"COPY/{name}" for name in hub.files(MODEL)} - {"COPY/README.md"} == {
        path.as_posix() for path in Path("COPY").rglob("*") if path.is_file()
    }
    assert not any(b"a secret wish" in data for data in hub.files(MODEL).values())
    ours, theirs = (np.asarray(Image.open(name)) for name in ("ours.png", "theirs.png"))
    assert ours.shape == theirs.shape
    assert theirs.std() > 0


def test_a_folder_with_more_in_it_has_another_name_than_its_copy(hub: FakeHub) -> None:
    from prefgen import PrefGen
    from prefgen.pipeline import HubCard

    ours = PrefGen.from_pretrained("MODEL", device="cpu")
    ours.push_to_hub(MODEL, card=HubCard(licence="mit", training_data="Plain colours."))
    me = ours.profile(liked=["likes/red.png"])
    theirs = PrefGen.from_pretrained(MODEL, device="cpu")
    with pytest.raises(ProfileError, match="was made by the model"):
        theirs.embed(me)
    theirs.embed(theirs.rebuild(me))


def test_the_page_is_linked() -> None:
    assert "(docs/hub.md)" in (ROOT / "README.md").read_text()
    assert "(hub.md)" in (ROOT / "docs" / "backbones.md").read_text().split("## Export")[1].split("## Training")[0]
