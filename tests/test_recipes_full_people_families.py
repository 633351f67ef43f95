"""Every family of language models goes the whole way on published weights, with pictures of different shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conftest import plain
from prefgen import PrefGen
from prefgen.mllm import PreferenceMLLM, Told
from prefgen.recipes.full_people.eyes import as_rows
from prefgen.recipes.full_people.run import train_full_on_people
from prefgen.recipes.full_presets import MLLMS
from prefgen.recipes.own_data.features import NOBODY, People, joined
from prefgen.recipes.own_data.report import REPORT
from raw_choices import bytes_under
from test_recipes_full_people import paints
from tiny_own_data import people_folder
from tiny_published import published_preset

SHAPES = ((48, 40), (40, 120), (128, 72))
"""Width and height in pixels."""
BY_SHAPE = ("qwen2.5-vl", "qwen3-vl")
"""Whose tokens vary with a picture's shape."""


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)) for width, height in SHAPES]


@pytest.mark.parametrize("name", MLLMS)
def test_what_is_kept_of_pictures_is_read_as_the_pictures_are(name: str, tmp_path: Path) -> None:
    """Of two people, whose rows are padded to each other's; to the precision of float16, in which they are kept."""
    published_preset(tmp_path, f"sd15-{name}")
    mllm = PreferenceMLLM.from_pretrained(tmp_path / name)
    shown = pictures()
    rows = [as_rows(mllm.vision.seen(some)) for some in (shown[:1], shown[1:])]
    save_file({part: joined([one[part] for one in rows]) for part in rows[0]}, tmp_path / "0.safetensors")
    n_tokens = {len(seen.tokens) for seen in mllm.vision.seen(shown)}
    assert (len(n_tokens) > 1) == (name in BY_SHAPE)
    people = People(files=(tmp_path / "0.safetensors",), n_people=2, n_pictures=3, askable=NOBODY, paintable=NOBODY)
    told, kept = (
        [Told(picture=picture, side=side) for picture, side in zip(some, ("like", "dislike", "like"), strict=True)]
        for some in (shown, people.pictures([0, 1, 2]))
    )
    asked, again = (mllm.asked_states(some, [some[1].picture, some[2].picture]) for some in (told, kept))
    torch.testing.assert_close(again, asked, atol=0.02, rtol=0.01)
    before, after = (mllm.encode_told([some, some[:2]]) for some in (told, kept))
    torch.testing.assert_close(after.like.mean, before.like.mean, atol=0.02, rtol=0.01)
    turned = mllm.encode_told([[kept[2], *kept[1:]], kept[:2]])
    assert not torch.allclose(turned.like.mean, before.like.mean, atol=0.05), "another picture reads otherwise"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    people_folder(folder / "people", 14, splits=("train", "train", "validation", "test"), shapes=SHAPES)
    return folder


def trained(home: Path, name: str, run: str, *, max_minutes: float | None = None, **changes: Any) -> Path:
    """A model, stopped and resumed as often as `max_minutes` makes it."""
    work, out = home / f"work-{name}-{run}", home / f"model-{name}-{run}"
    preset = published_preset(home, name, **changes)
    report, n_stops = None, 0
    while report is None:
        report = train_full_on_people(home / "people", preset, work=work, out=out, max_minutes=max_minutes)
        n_stops += report is None
        assert n_stops < 60
    assert (n_stops > 5) == (max_minutes == 0)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", MLLMS)
def test_every_family_trains_resumes_loads_and_serves(name: str, home: Path) -> None:
    few = {"preference_samples": 60, "choose_every": 60, "adapter_samples": 4, "evaluated_people": 2}
    unbroken = trained(home, f"sd15-{name}", "whole", **few)
    stopped = trained(home, f"sd15-{name}", "broken", max_minutes=0, **few)
    theirs, ours = bytes_under(unbroken), bytes_under(stopped)
    assert set(theirs) == set(ours)
    assert [part for part in theirs if theirs[part] != ours[part]] == []
    learned = load_file(stopped / "mllm" / "lora" / "adapter_model.safetensors")
    assert any(bool(value.abs().sum()) for part, value in learned.items() if "lora_B" in part)
    figures = json.loads((stopped / REPORT).read_text())["figures"]["validation"]
    assert figures["flow_loss"]["after"]["n"] == 2
    model = PrefGen.from_pretrained(stopped, device="cpu")
    paints(model, "sd15")
    me = model.profile(liked=pictures()[:2], disliked=[plain("blue")])
    assert me.history is not None
    asked = [plain("red"), pictures()[2]]
    before = PreferenceMLLM.from_pretrained(home / name).score(me.history, asked)
    assert np.abs(np.array(model.score(me, asked)) - before).max() > 1e-3
