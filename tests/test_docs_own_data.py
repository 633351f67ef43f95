"""Every command of docs/train_on_your_data.md is run as a new user would, in the order in which it stands there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from pages import blocks, commands, page_text, words_of
from prefgen.cli.main import status_of
from prefgen.history.collect import people_in
from prefgen.history.splits import SPLITS, split_of
from prefgen.recipes import full_plan
from prefgen.recipes.counting import StepCount
from prefgen.recipes.full_presets import FULL_PRESETS
from prefgen.recipes.own_data import settings
from prefgen.recipes.own_data.report import BETTER, REPORT
from raw_choices import bytes_under, choice, write
from tiny_own_data import coloured, smallest, start_folder
from tiny_published import published_preset

PAGE = "docs/train_on_your_data.md"
GUIDE = page_text(PAGE)
NAMES = (
    "ann",
    "ben",
    "cleo",
    "dan",
    "eve",
    "finn",
    "gus",
    "hal",
    "ivy",
    "jo",
    "kim",
    "lou",
    "mia",
    "ned",
    "oda",
    "pia",
)
N_CHOOSERS = 16
N_SIDE = 4
SIZE = {
    "preference_samples": 40,
    "preference_batch": 2,
    "choose_every": 40,
    "adapter_samples": 16,
}
"""What `--preset tiny` is here. Simulated people are painted at 64 pixels, which the random model cannot see: none."""


def own_people(folder: Path) -> None:
    """`MINE`: a folder a person, two prompts among their pictures, some pictures without any."""
    for number, name in enumerate(NAMES):
        for side in ("like", "dislike"):
            home = folder / name / f"{side}s"
            home.mkdir(parents=True)
            for k in range(N_SIDE):
                coloured(number, k, side).resize((64, 64)).save(home / f"{k}.jpg", quality=95)
                if k < 2:
                    (home / f"{k}.txt").write_text(f"a fox, number {k}")


def choosers(path: Path) -> None:
    """`RAW`: Pick-a-Pic's rows."""
    rows = [
        choice(user, 1000 * user + 2 * turn, 1000 * user + 2 * turn + 1, float(turn % 2), caption=f"prompt {turn}")
        for user in range(1, N_CHOOSERS + 1)
        for turn in range(5)
    ]
    write(path, rows)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the guide's names stand for, with a tiny random model in the embedded one's place."""
    embedded = start_folder(tmp_path / "embedded")
    monkeypatch.setattr("prefgen.pipeline.loading._embedded", lambda: embedded)
    monkeypatch.setitem(settings.OWN_DATA_PRESETS, "tiny", smallest(**SIZE))
    published = published_preset(tmp_path / "published", "sd15-smolvlm", preference_samples=24, adapter_samples=8)
    monkeypatch.setitem(FULL_PRESETS, "sd15-smolvlm", published)
    for step in ("adapter_step", "lora_step"):  # counting them takes minutes, and has tests of its own
        monkeypatch.setattr(full_plan, step, lambda *_, **__: StepCount(flops=10**12, held=2**30))
    monkeypatch.chdir(tmp_path)
    own_people(Path("MINE"))
    choosers(Path("RAW") / "train-00000.parquet")
    old = ["profile", "build", "--liked", "MINE/cleo/likes", "--model", "embedded", "-o", "old.prefgen"]
    assert status_of(old) == 0
    return tmp_path


def test_every_command_of_the_page_runs_in_order(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out: dict[str, str] = {}
    capsys.readouterr()
    for line in commands(PAGE):
        words = words_of(line)
        assert words[0] == "prefgen", line
        before = bytes_under(here) if "--dry-run" in words else None
        status = status_of(words[1:])
        printed = capsys.readouterr()
        assert status == 0, f"{line}\n{printed.err}"
        out[line] = printed.out
        assert before is None or bytes_under(here) == before, f"{line} wrote something"
    _check(out)


def _check(out: dict[str, str]) -> None:
    """What the page promises of what comes out."""
    for number, name in ((len(NAMES), "OURS"), (N_CHOOSERS, "PEOPLE")):
        people = list(people_in(name))
        assert len(people) == number
        shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
        assert all(p.split == split_of(p.user_id, **shares) for p in people)
    dry = _of(out, "prefgen train --people OURS --dry-run")
    for split in SPLITS:
        n = sum(1 for _ in people_in("OURS", split))
        assert f"{split}: {n} people, {2 * N_SIDE * n} pictures, {n} asked about, {n} painted for" in dry
    for model in ("OURS_MODEL", "MODEL", "MODEL_2", "MODEL_3"):
        report = json.loads((Path(model) / REPORT).read_text())
        split = report["figures"]["test"]
        assert set(split) == {*BETTER, "flow_loss_hearing_nobody", "flow_loss_by_hearing"}
        n_held_out = report["people"]["test"]["people"]
        assert all(row["after"]["n"] == min(n_held_out, 4) for row in split.values())
    report = json.loads((Path("MODEL_4") / REPORT).read_text())
    assert set(report["figures"]["test"]) == {"which_of_two", "yes_no", "flow_loss"}
    assert (Path("MODEL_4") / "mllm" / "lora" / "adapter_model.safetensors").is_file()
    dry = _of(out, "prefgen train --preset sd15-smolvlm --people PEOPLE --dry-run")
    assert f"train: {sum(1 for _ in people_in('PEOPLE', 'train'))} people" in dry
    assert "user encoder" in dry
    assert "MODEL is ready" in _of(out, "prefgen train --people PEOPLE --start embedded")
    assert "unfinished: the same command resumes" in _of(out, "--max-minutes 0")
    assert bytes_under(Path("MODEL_3")) == bytes_under(Path("OURS_MODEL"))
    assert not any(
        name.encode() in data for name in ("cleo", "MINE") for data in bytes_under(Path("OURS_MODEL")).values()
    )
    assert _stage_kept("MODEL_2", "mllm/model.safetensors")
    assert not _stage_kept("MODEL", "mllm/model.safetensors")
    assert len(_of(out, "prefgen rank").splitlines()) >= N_SIDE
    for told in ("--model MODEL --seed", "--model MODEL_4 --dtype"):
        [picture] = next(out[line] for line in out if line.startswith("prefgen generate") and told in line).split()
        with Image.open(picture) as image:
            assert image.size[0] >= 16
    assert Path("new.prefgen").read_bytes() != Path("old.prefgen").read_bytes()


def _of(out: dict[str, str], part: str) -> str:
    [found] = [text for line, text in out.items() if part in line]
    return found


def _stage_kept(model: str, name: str) -> bool:
    import torch
    from safetensors.torch import load_file

    old, new = load_file(Path("embedded") / name), load_file(Path(model) / name)
    return all(torch.equal(old[key].half(), new[key].half()) for key in old)


def test_the_pages_python_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("embedded").rename("MODEL")
    [block] = blocks(PAGE, "python")
    block.run()
    with Image.open("fox.png") as image:
        assert image.size[0] >= 16
    assert capsys.readouterr().out.strip()


def test_the_pages_numbers_are_the_codes() -> None:
    from prefgen.recipes.own_data.people import MOST_OPINIONS
    from prefgen.recipes.own_data.report import LEAST_JUDGED

    preset = settings.OWN_DATA_PRESETS["embedded"]
    assert (preset.least_people, preset.least_validation_people, LEAST_JUDGED) == (4, 2, 10)
    assert "Four to learn from and two to choose by are the least" in GUIDE
    assert "Ten held out are the\n  least" in GUIDE
    assert f"the last {MOST_OPINIONS} opinions" in GUIDE
    assert f"asks {preset.preference_samples:,} questions" in GUIDE
    assert f"paints {preset.adapter_samples:,} rows" in GUIDE
    assert preset.simulated_share == 0.25
    named = set(re.findall(r"^\| `(\w+)` \| [a-z`]", GUIDE, re.MULTILINE))
    assert named == {*BETTER, "flow_loss_hearing_nobody", "flow_loss_by_hearing"}


@pytest.mark.slow
def test_the_embedded_model_trains_on_with_simulated_people_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = published_preset(tmp_path / "published", "sd15-smolvlm", preference_samples=24, adapter_samples=8)
    monkeypatch.setitem(FULL_PRESETS, "sd15-smolvlm", published)
    for step in ("adapter_step", "lora_step"):  # counting them takes minutes, and has tests of its own
        monkeypatch.setattr(full_plan, step, lambda *_, **__: StepCount(flops=10**12, held=2**30))
    monkeypatch.chdir(tmp_path)
    own_people(Path("MINE"))
    small = {"preference_samples": 40, "adapter_samples": 16, "simulated_people": 4, "simulated_pictures": 60}
    small |= {"preference_batch": 2, "evaluated_people": 2, "n_variants": 1, "flow_draws": 1}
    numbers = " ".join(f"--set {name}={value}" for name, value in small.items())
    for line in (
        "prefgen data folders MINE -o OURS --train 0.6 --validation 0.2 --test 0.2",
        f"prefgen train --people OURS --preset tiny -o OURS_MODEL {numbers}",
        "prefgen profile build --liked MINE/ann/likes --model OURS_MODEL -o ann.prefgen",
        'prefgen generate "a fox by a lake" --profile ann.prefgen --model OURS_MODEL --seed 7 -o out',
    ):
        assert status_of(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    assert json.loads((Path("OURS_MODEL") / REPORT).read_text())["preset"]["simulated_share"] == 0.25
