"""Unknown words, sheets and PNG text."""

from __future__ import annotations

import os

from PIL import Image

from conftest import plain
from prefgen.pipeline import Sentence, Strip, contact_sheet, save_png, unknown_words
from prefgen.pipeline.sheet import GREEN, fitted


def test_unknown_words_are_found_once_with_their_nearest():
    found = unknown_words(["A dragon by the lake, Gold", "golden foxes, dragon"], ["fox", "by a lake", "gold", "wagon"])
    assert [word.word for word in found] == ["dragon", "golden", "foxes"]
    assert found[0].nearest[0] == "wagon"
    assert "gold" in found[1].nearest


def test_a_model_without_a_list_knows_every_word():
    assert unknown_words("anything goes", []) == []


def test_png_text_is_unicode_and_leaves_out_nothing_but_none(tmp_path):
    save_png(plain("red"), tmp_path / "new" / "a.png", {"prompt": "ein Füchslein 狐", "seed": 7, "profile": None})
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.text["prompt"] == "ein Füchslein 狐"
        assert image.text["seed"] == "7"
        assert image.text["software"].startswith("prefgen ")
        assert "profile" not in image.text


def test_a_sheet_frames_its_pictures_and_wraps_its_text():
    strip = Strip(caption="liked", pictures=[plain("red")] * 5, n_columns=4, frame=GREEN)
    short = contact_sheet("Title", [strip], width_px=600)
    long = contact_sheet("Title", [strip, Sentence(text="many words " * 60)], width_px=600)
    assert short.width == long.width == 600
    assert long.height > short.height + 100
    colours = {colour for _, colour in short.getcolors(100_000)}
    assert {GREEN, (255, 0, 0)} <= colours


def test_a_picture_is_fitted_whole():
    wide = fitted(Image.new("RGB", (20, 10), "black"), 100)
    assert wide.size == (100, 100)
    assert wide.getpixel((50, 50)) == (0, 0, 0)
    assert wide.getpixel((50, 5)) != (0, 0, 0)


def test_pictures_are_readable_as_the_umask_says_and_replaced_only_when_asked(tmp_path):
    first = save_png(plain("red"), tmp_path / "a.png", {})
    before = os.umask(0o022)
    try:
        second = save_png(plain("blue"), tmp_path / "a.png", {})
    finally:
        os.umask(before)
    assert (first.name, second.name) == ("a.png", "a-2.png")
    assert second.stat().st_mode & 0o777 == 0o644
    assert save_png(plain("green"), first, {}, replace=True) == first
    with Image.open(first) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (0, 128, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.png", "a.png"]
