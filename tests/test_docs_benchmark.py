"""Every command of docs/benchmark.md and docs/study.md, and the row that the page shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pages import blocks, commands, page_text, words_of
from prefgen.benchmark import stranger
from prefgen.benchmark.ablations import QUESTIONS
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import METHODS, QUICK_METHODS
from prefgen.cli.main import status_of
from prefgen.recipes.presets import preset_named
from prefgen.study import read_key, read_study
from small_study import answer_all
from test_benchmark_prediction import _dogs
from test_benchmark_run import _emoji_folder
from tiny_bench import N_USERS, with_tiny_bench

PAGE, STUDY = "docs/benchmark.md", "docs/study.md"
RETRAINED = [command for command in commands(PAGE) if "--task retrained" in command]
ABLATIONS = [command for command in commands(PAGE) if "--task ablations" in command]
OTHERS = [command for command in commands(PAGE) if command not in (*RETRAINED, *ABLATIONS)]
Run = Callable[..., str]


def slow_if_all(command: str) -> Any:
    """All methods, or all questions, take longer than the quick suite has."""
    marks = (
        [] if any(word in command for word in ("--quick", "--methods", "prediction", "stranger")) else pytest.mark.slow
    )
    return pytest.param(command, marks=marks)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a page's command where `DATA` lies, with `more` words behind it, and gives what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, *more: str) -> str:
        name, *words = words_of(command)
        assert name == "prefgen"
        status = status_of([*words, *more])
        printed = capsys.readouterr()
        assert status == 0, f"{command}\n{printed.err}"
        return printed.out

    return run


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny bench, and `DATA` of a few emoji and dogs."""
    with_tiny_bench(tmp_path / "weights", monkeypatch)
    (tmp_path / "DATA").mkdir()
    _emoji_folder(tmp_path / "DATA" / "emoji", n_concepts=22)
    _dogs(tmp_path / "DATA" / "dogs")
    monkeypatch.setattr(stranger, "Sampling", lambda **_: Sampling(n_steps=1))


def test_the_commands_are_these() -> None:
    assert (len(OTHERS), len(ABLATIONS), len(RETRAINED)) == (5, 2, 1)


@pytest.mark.parametrize("command", [*map(slow_if_all, OTHERS)])
def test_a_command_of_the_page_runs(command: str, tiny: None, ran: Run) -> None:
    words = words_of(command)
    if "--stranger" in words:
        assert "fill answers.json" in ran(command)
        key = json.loads(Path("sheets/key.json").read_text())["sheets"]
        Path("sheets/answers.json").write_text(json.dumps(key))
        assert ran(command).startswith(f"{len(key)} of {len(key)} sheets matched")
        assert len(key) == 10
        return
    out = ran(command, *N_USERS)
    if "--json" in words:
        rows = json.loads(out)["rows"]
        assert set(rows[0]) == {"method", "metric", "value", "low", "high", "n"}
    told = (
        set(METHODS)
        if "-o" in words
        else set(words[words.index("--methods") + 1].split(",") if "--methods" in words else [])
    )
    lines = out.splitlines()
    assert {name for name in told if not any(line.startswith(f"{name} ") for line in lines)} == set()
    if "--report" in words:
        assert "<svg" in Path("out/report.html").read_text()
    if "-o" in words:
        kept = {path.name.split("-")[0] for path in Path("runs/full/pictures").iterdir()} - {"histories"}
        assert kept == set(METHODS) - {"bagel"}, "its weights are not here, and its row says so"


@pytest.mark.parametrize("command", [*map(slow_if_all, ABLATIONS)])
def test_questions_about_our_method_are_asked(
    command: str, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: Run
) -> None:
    """A tiny random model of the package's own kind, since the fake one has no parts to leave out."""
    with_tiny_bench(tmp_path / "weights", monkeypatch, model)
    out, words = ran(command, *N_USERS), words_of(command)
    asked = set(words[words.index("--methods") + 1].split(",")) if "--methods" in words else set(QUESTIONS)
    assert {word.split("@")[1] for word in out.split() if "@" in word} == asked
    if "--report" in words:
        assert Path("out/ablations.html").read_text().count("<svg") >= len(asked)


def test_what_the_page_says_of_numbers_is_so() -> None:
    text = page_text(PAGE)
    assert len(QUICK_METHODS) == 5
    assert len(QUESTIONS) == 16
    assert "five methods, 48 people" in text
    assert "sixteen questions about our method" in text
    assert "96 people, 16 pictures each" in text
    [shown] = blocks(PAGE, "json")
    assert set(json.loads(shown.text)) == {"method", "metric", "value", "low", "high", "n"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_encoders_are_trained_anew(ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped model; every variant with one seed, 64 samples, twelve people and 64 pictures in place of 3, 40,000,
    1,500 and all."""
    from prefgen.recipes import retrained

    few_pictures = preset_named("embedded").with_overrides(n_pictures=64)
    monkeypatch.setattr("prefgen.recipes.retrained.run.preset_named", lambda _: few_pictures)
    few = partial(retrained.retrain, seeds=(0,), n_samples=64, n_training_people=12)
    monkeypatch.setattr(retrained, "retrain", few)
    [command] = RETRAINED
    out = ran(command, *N_USERS)
    assert {name for name in (v.name for v in retrained.VARIANTS) if name not in out} == set()
    assert "<svg" in Path("out/retrained.html").read_text()


def test_the_studys_commands_run_in_order(tiny: None, ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rater answers everything while the server runs, then Ctrl-C is pressed."""
    folder = Path("studies/prompt")

    def answered(*_: object) -> None:
        study = read_study(folder)
        answer_all(folder, study, read_key(folder, study), "ada", lambda _, asked: asked.side)
        raise KeyboardInterrupt

    monkeypatch.setattr("prefgen.study.serve._Server.serve_forever", answered)
    bench, *rest = commands(STUDY)
    ran(bench, *N_USERS)
    made, served, reported = (ran(command) for command in rest)
    assert made.strip() == str(folder)
    assert served.startswith("http://127.0.0.1:")
    assert json.loads(reported)["raters"][0]["rater"] == "ada"
