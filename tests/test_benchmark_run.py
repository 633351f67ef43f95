"""A whole run with fakes: the report's form, resuming, and the figures from beyond the painter."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_judge import FakeChain, FakeJudge
from prefgen.benchmark.by_eye import verdict_rows
from prefgen.benchmark.methods import METHODS
from prefgen.benchmark.methods.prompt import PromptMethod
from prefgen.benchmark.ood import dog_rows, emoji_agent, emoji_rows, pair_accuracy, read_emoji, right_halves
from prefgen.benchmark.population import members_of
from prefgen.benchmark.run import FULL, QUICK, WEIGHTS, Plan, planned, run_bench, weights_folder, weights_sha256
from prefgen.core import ConfigError, InputError

TINY = Plan(n_users=2, n_prompts=1, n_seeds=2, n_reserved=1, n_steps=1)


def _run(out: Path | None = None, methods: tuple[str, ...] = ("prompt", "painter", "prefgen", "ip_adapter")) -> dict:
    return run_bench(
        FakeChain(),
        FakeJudge(),
        members_of("validation"),
        plan=TINY,
        methods=methods,
        metrics=["gain", "win_rate", "judge_accuracy"],
        out=out,
        baselines=Path("nowhere"),
        weights="abc",
    )


def test_the_report_has_its_form_and_says_what_was_not_run(tmp_path: Path) -> None:
    report = _run(tmp_path)
    assert set(report) == {"commit", "weights_sha256", "n_users", "seeds", "rows", "command"}
    assert (report["n_users"], report["seeds"], report["weights_sha256"]) == (2, [0], "abc")
    absent = [r for r in report["rows"] if r["method"] == "ip_adapter"]
    assert len(absent) == 1
    assert absent[0]["metric"].startswith("not run here, because")
    assert absent[0]["value"] == "n/a"
    assert (tmp_path / "bench.json").exists()
    with (tmp_path / "by_eye.csv").open() as lines:
        assert len(list(csv.DictReader(lines))) == 2 * 4 * 2


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _run(tmp_path, ("prompt",))
    painted: list[int] = []
    real = PromptMethod.paint
    monkeypatch.setattr(PromptMethod, "paint", lambda self, tasks: painted.append(len(tasks)) or real(self, tasks))
    assert _run(tmp_path, ("prompt",))["rows"] == first["rows"]
    assert painted == []
    lost = next((tmp_path / "pictures").glob("prompt-*/*.npy"))
    kept = np.load(lost)
    lost.unlink()
    assert _run(tmp_path, ("prompt",))["rows"] == first["rows"]
    assert painted == [4]
    assert (np.abs(np.load(lost).astype(int) - kept) <= 2).mean() > 0.999


def test_plans_and_names() -> None:
    assert QUICK.n_users >= 48
    assert FULL.n_prompts * FULL.n_seeds == 16
    assert planned(quick=True, n_users=5).n_users == 5
    with pytest.raises(InputError, match="at least 2 users"):
        planned(quick=True, n_users=1)
    with pytest.raises(ConfigError, match="prefgem"):
        _run(methods=("prefgem",))
    assert set(METHODS) >= {"prompt", "oracle", "painter", "prefgen"}


def test_the_weights_hash_depends_on_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"1")
    one = weights_sha256(tmp_path)
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    assert weights_sha256(tmp_path) != one
    assert weights_sha256(None) == "unknown"


def test_a_folder_of_the_same_name_is_not_taken_for_the_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("embedded", "mine"):
        Path(name).mkdir()
    assert weights_folder("embedded") == WEIGHTS / "embedded"
    assert weights_folder("mine") == Path("mine")
    assert weights_folder("nobody/has-this") is None


def _emoji_folder(folder: Path, n_concepts: int = 14) -> Path:
    rng = np.random.default_rng(0)
    images, lines = [], []
    for s, style in enumerate(("red", "green", "blue", "grey")):
        colour = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220], [128, 128, 128]][s])
        for concept in range(n_concepts):
            lines.append({"row": len(images), "style": style, "name": f"concept {concept}"})
            images.append(np.clip(colour + rng.integers(-20, 20, (64, 64, 3)), 0, 255).astype(np.uint8))
    folder.mkdir()
    np.savez(folder / "emoji64.npz", images=np.stack(images))
    with (folder / "emoji64.csv").open("w", newline="") as out:
        table = csv.DictWriter(out, ["row", "style", "name"])
        table.writeheader()
        table.writerows(lines)
    return folder


def test_emoji_agents_are_balanced_and_asked_about_concepts_they_were_not_shown(tmp_path: Path) -> None:
    styles = read_emoji(_emoji_folder(tmp_path / "emoji"))
    for index in range(10):
        liked, disliked, asked, labels = emoji_agent(index, styles)
        assert (len(liked), len(disliked), labels.mean()) == (4, 4, 0.5)
        shown = {p.tobytes() for p in (*liked, *disliked)}
        assert not shown & {p.tobytes() for p in asked}
    rows = emoji_rows(FakeChain(), tmp_path / "emoji", n_agents=6)
    assert {r.method for r in rows} == {"prefgen", "raw_pixels_logistic"}
    assert all(r.value > 0.8 for r in rows)


def test_dogs_stand_beside_the_crowd_and_chance(tmp_path: Path) -> None:
    folder = tmp_path / "dogs"
    (folder / "images").mkdir(parents=True)
    for i in range(24):
        Image.new("RGB", (16, 16), (10 * i, 0, 0)).save(folder / "images" / f"{i:02d}.png")
    with (folder / "ratings.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["user", "item", "score", "repeat"])
        for user in range(4):
            for i in range(24):
                score = i / 24 if user < 3 else 1 - i / 24
                table.writerows([[f"u{user}", f"{i:02d}.png", score, r] for r in (1, 2)])
    got = {r.method: r.value for r in dog_rows(FakeChain(), folder)}
    assert got["prefgen"] > 0.95
    assert got["crowd"] == pytest.approx(0.75)
    assert got["chance"] == 0.5


def test_absent_data_is_said_and_never_a_number() -> None:
    for rows in (emoji_rows(FakeChain(), None), dog_rows(FakeChain(), Path("nowhere"))):
        assert rows[0].metric.startswith("not run here, because")
        assert rows[0].to_json()["value"] == "n/a"


def test_answers_at_the_middle_count_half() -> None:
    assert right_halves(np.array([0.9, 0.5, 0.9]), np.array([True, True, False])) == pytest.approx(0.5)
    assert pair_accuracy(np.array([1.0, 0.0, 1.0]), [(0, 1), (1, 0), (0, 2)]) == pytest.approx(0.5)


def test_verdicts_by_eye_become_rows_once_they_are_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "by_eye.csv"
    assert verdict_rows(path) == []
    path.write_text("number,subject_right,worded_right\n0,1,1\n1,1,0\n")
    assert [r.value for r in verdict_rows(path)] == [1.0, 0.5]
