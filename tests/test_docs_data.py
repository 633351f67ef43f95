"""Every command of docs/data.md is run, in the order in which it stands there."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from pages import blocks, commands, words_of
from prefgen.cli.main import status_of
from prefgen.history.collect import people_in
from raw_choices import bytes_under, picture, steady_choices, write
from test_agents_writers import GOOD, Server, completion
from test_collect_sources import FRAME_SCHEMA, frame, own_folders, release
from tiny_diffusion import tiny_pipeline

PAGE = "docs/data.md"
KEY = "a-key"


def prepared(folder: Path) -> None:
    """What the guide's names stand for."""
    write(folder / "RAW" / "train-00000.parquet", steady_choices(3, 6))
    write(folder / "FRAMES.parquet", [frame(1, 0), frame(2, 20)], schema=FRAME_SCHEMA)
    own_folders(folder / "MINE")
    (folder / "ARCHIVES").mkdir()
    release(folder / "ARCHIVES").rename(folder / "BENCH.json")
    (folder / "WORDS.json").write_text(json.dumps({"1": ["muted", "gold"]}))
    tiny_pipeline().save_pretrained(folder / "PIPELINE")
    (folder / "side").mkdir()
    (folder / "side" / "attributes.pkl").write_bytes(pickle.dumps({"1": ["muted", "gold"]}))


def turned_into_json(command: str) -> None:
    """What the page's container runs, run here: nobody's images of containers are fetched by a test."""
    *options, code = words_of(command)
    assert options[:2] == ["docker", "run"]
    assert options[options.index("--network") + 1] == "none"
    assert options[-3:] == ["python:3.11", "python", "-c"]
    subprocess.run([sys.executable, "-c", code.replace("/side/", "side/")], check=True)
    assert json.loads(Path("side/attributes.json").read_text()) == json.loads(Path("WORDS.json").read_text())


def test_the_guides_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(tmp_path)
    monkeypatch.chdir(tmp_path)
    written = {**GOOD, "liked": {"palette": ["gold"], "medium": ["ink"]}}
    server = Server((200, completion(json.dumps(written))))
    for line in commands(PAGE):
        name, *words = words_of(line.replace("LLM_URL", server.url))
        if name == "docker":
            turned_into_json(line)
        elif name == "export":
            monkeypatch.setenv(words[0].split("=")[0], KEY)
        elif name != "pip":  # from an index; that the extra exists is checked for every page
            assert name == "prefgen", line
            status = status_of(words)
            assert status == 0, f"{line}\n{capsys.readouterr().err}"
    server.close()
    assert {headers["Authorization"] for _, headers, _ in server.asked} == {f"Bearer {KEY}"}
    [block] = blocks(PAGE, "python")
    assert len(block.run()["history"].liked) == 6
    assert {person.user_id for person in people_in("PEOPLE")} == {"1", "2", "3"}
    rows = [json.loads(row) for row in Path("PEOPLE/one.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert all((Path("PEOPLE") / row["image"]).is_file() for row in rows)
    assert len(list(people_in("BOTH"))) == 4
    assert {person.user_id.split("/")[0] for person in people_in("MIXED")} == {"PEOPLE", "AGENTS"}
    assert {person.attributes for person in people_in("WRITTEN")} == {("glossy", "gold, ink")}
    assert sum(len(person.targets) for person in people_in("BENCH_WORDS")) == 3
    assert len(server.asked) == 2
    assert list(Path("TARS").glob("*.tar"))


def test_json_to_stdout_and_steps_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.parquet", steady_choices(2, 4))
    assert status_of(["data", "pick-a-pic", str(tmp_path / "a.parquet"), "-o", str(tmp_path / "out"), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["counts"]["4 keep"]["users"] == 2
    assert [line.split(":")[0] for line in printed.err.splitlines()[-4:]] == ["1 drop", "2 group", "3 merge", "4 keep"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["pick-a-pic", "gone", "-o", "out"], "gone does not exist"),
        (["people", "."], "is no folder of people"),
        (["agents", "-o", "out", "--people", "1", "--shard", "3/2"], "expected a shard such as 1/8"),
        (["agents", "-o", "out", "--people", "1", "--llm-url", "http://127.0.0.1:1"], "expected the endpoint's model"),
        (["prefbench", "side.pkl", "-o", "out"], "pickled file"),
        (["manifest", "PEOPLE", "--user", "1", "-o", "elsewhere/one.jsonl"], "expected a .jsonl file in PEOPLE"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of(["data", *words]) == 2
    assert part in capsys.readouterr().err
    assert bytes_under(tmp_path) == {}
    assert picture(1)[:2] == b"\xff\xd8"
