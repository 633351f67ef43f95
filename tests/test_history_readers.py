"""Histories from folders and from Python lists, and what becomes of a picture named twice."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prefgen.core import ConflictError, InputError
from prefgen.history import history_from_folders, history_from_items


def plain(colour: str) -> Image.Image:
    return Image.new("RGB", (4, 4), colour)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    liked, disliked = tmp_path / "liked", tmp_path / "disliked"
    for folder, colours in ((liked, {"b": "red", "a": "green"}), (disliked, {"c": "blue"})):
        folder.mkdir()
        for name, colour in colours.items():
            plain(colour).save(folder / f"{name}.png")
    return liked, disliked


def test_folders_are_read_in_the_order_of_names(folders: tuple[Path, Path]) -> None:
    history = history_from_folders(*folders)
    assert [Path(item.source or "").name for item in history.items] == ["a.png", "b.png", "c.png"]
    assert [item.side for item in history.items] == ["like", "like", "dislike"]
    assert all(item.time_s is None and item.weight == 1 and item.aspect == "all" for item in history.items)
    assert history_from_folders(str(folders[0]), str(folders[1])) == history


def test_one_side_is_enough(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert len(history_from_folders(folders[0], None).liked) == 2
    assert len(history_from_folders(None, folders[1]).disliked) == 1
    (tmp_path / "empty").mkdir()
    assert len(history_from_folders(tmp_path / "empty", folders[1])) == 1


def test_no_picture_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no picture"):
        history_from_folders(tmp_path, None)
    with pytest.raises(InputError, match="no picture"):
        history_from_folders(None, None)


def test_side_files_are_passed_over_and_prompts_read(folders: tuple[Path, Path]) -> None:
    liked, disliked = folders
    (liked / "a.txt").write_text("\ufeff a fox by a lake \n", encoding="utf-8")
    (liked / "b.txt").write_text(" \n")
    for name in (".DS_Store", ".hidden.png", "a.json", "Thumbs.db", "desktop.ini", "notes.TXT"):
        (disliked / name).write_text("x")
    (disliked / "deeper").mkdir()
    history = history_from_folders(liked, disliked)
    assert [item.prompt for item in history.items] == ["a fox by a lake", None, None]


def test_a_prompt_that_is_no_text(folders: tuple[Path, Path]) -> None:
    (folders[0] / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"a\.txt"):
        history_from_folders(*folders)


def test_a_file_that_is_no_picture_is_named(folders: tuple[Path, Path]) -> None:
    (folders[1] / "song.mp3").write_bytes(b"ID3 not a picture")
    with pytest.raises(InputError, match=r"song\.mp3 is not a picture"):
        history_from_folders(*folders)


def test_folders_that_are_none(folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="gone does not exist"):
        history_from_folders(folders[0] / "gone", None)
    with pytest.raises(InputError, match="not a folder"):
        history_from_folders(folders[0] / "a.png", None)


def test_the_same_picture_in_both_folders_names_both_files(folders: tuple[Path, Path]) -> None:
    plain("red").save(folders[1] / "other.bmp")
    with pytest.raises(ConflictError, match=r"liked/b\.png.*disliked/other\.bmp"):
        history_from_folders(*folders)
    with pytest.raises(ConflictError):
        history_from_folders(folders[0], folders[0])


def test_a_duplicate_in_a_folder_is_kept_once(folders: tuple[Path, Path]) -> None:
    plain("red").save(folders[0] / "z.bmp")
    history = history_from_folders(*folders)
    assert [Path(item.source or "").name for item in history.liked] == ["a.png", "b.png"]
    assert history.n_dropped_conflicts == 0


def test_items_carry_all_values() -> None:
    zone = timezone(timedelta(hours=2))
    history = history_from_items(
        [plain("red"), plain("lime")],
        [plain("blue")],
        prompts={"liked": ["a fox", None], "disliked": [""]},
        comments=["warm", None, "cold"],
        times=[1e9, "2001-09-09T01:46:41Z", datetime(2001, 9, 9, 3, 46, 42, tzinfo=zone)],
        weights={"liked": [2, np.float32(0.5)]},
        aspects=[None, "colors", "Subject"],
    )
    assert [item.prompt for item in history.items] == ["a fox", None, None]
    assert [item.comment for item in history.items] == ["warm", None, "cold"]
    assert [item.time_s for item in history.items] == [1e9, 1e9 + 1, 1e9 + 2]
    assert [item.weight for item in history.items] == [2.0, 0.5, 1.0]
    assert [item.aspect for item in history.items] == ["all", "colours", "subject"]


def test_items_from_paths_and_one_side(folders: tuple[Path, Path]) -> None:
    history = history_from_items(disliked=(path for path in [folders[1] / "c.png"]), prompts=["a lake"])
    assert history.items[0].prompt == "a lake"
    assert history.items[0].side == "dislike"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"prompts": ["a"]}, "prompts has 1 values for 2"),
        ({"weights": {"liked": [1, 2]}}, "weights['liked'] has 2 values for 1"),
        ({"weights": {"disliked": [], "liked": [1]}}, "weights['disliked'] has 0 values for 1"),
        ({"prompts": "ab"}, "expected a list as prompts"),
        ({"prompts": {"like": ["a"]}}, "side 'like'"),
        ({"prompts": [3, None]}, "liked[0]: expected text as prompt"),
        ({"comments": [None, "\ud800"]}, "disliked[0]"),
        ({"weights": [float("nan"), 1]}, "weight"),
        ({"weights": [float("inf"), 1]}, "weight"),
        ({"weights": [0, 1]}, "weight"),
        ({"weights": [-1, 1]}, "weight"),
        ({"weights": [101, 1]}, "weight"),
        ({"weights": [True, 1]}, "weight"),
        ({"weights": [10**400, 1]}, "weight"),
        ({"weights": ["heavy", 1]}, "weight"),
        ({"times": [float("nan"), None]}, "time"),
        ({"times": ["yesterday", None]}, "time"),
        ({"times": [float("-inf"), None]}, "time"),
        ({"times": [1_700_000_000_000, None]}, "milliseconds"),
        ({"aspects": ["stile", None]}, "did you mean 'style'"),
    ],
)
def test_values_that_cannot_be_used(values: dict, told: str) -> None:
    with pytest.raises(InputError) as caught:
        history_from_items([plain("red")], [plain("blue")], **values)
    assert told in str(caught.value)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("liked", ["liked/", plain("red"), Path("x.png")])
def test_a_single_picture_instead_of_a_list(liked) -> None:
    with pytest.raises((InputError, TypeError), match=r"expected a list|Type-check"):
        history_from_items(liked)


def test_a_bad_picture_in_a_list_is_placed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"liked\[1\]: .*gone\.png does not exist"):
        history_from_items([plain("red"), tmp_path / "gone.png"])
    with pytest.raises(InputError, match="no picture"):
        history_from_items([], [])


def test_untimed_conflicts_are_dropped_and_counted() -> None:
    history = history_from_items([plain("red"), plain("lime")], [plain("red")])
    assert len(history) == 1
    assert history.n_dropped_conflicts == 1
    with pytest.raises(InputError, match="1 dropped"):
        history_from_items([plain("red")], [plain("red")])


@pytest.mark.parametrize(
    ("times", "side", "n_dropped"),
    [([1, 2], "dislike", 0), ([2, 1], "like", 0), ([1, 1], None, 1), ([1, None], None, 1)],
)
def test_timed_conflicts_go_to_the_latest(times: list, side: str | None, n_dropped: int) -> None:
    history = history_from_items([plain("red"), plain("lime")], [plain("red")], times=[times[0], 5, times[1]])
    red = [item.side for item in history.items if item.image.getpixel((0, 0)) == (255, 0, 0)]
    assert red == ([side] if side else [])
    assert history.n_dropped_conflicts == n_dropped


def test_duplicates_keep_the_first_or_the_latest_opinion() -> None:
    untimed = history_from_items([plain("red"), plain("red")], weights=[1, 2])
    timed = history_from_items([plain("red"), plain("red")], weights=[1, 2], times=[1, 2])
    assert [item.weight for item in untimed.items] == [1]
    assert [item.weight for item in timed.items] == [2]


def test_small_copies_keep_the_whole_pictures_hash(tmp_path):
    (tmp_path / "likes").mkdir()
    Image.effect_noise((900, 300), 80).convert("RGB").save(tmp_path / "likes" / "wide.png")
    whole = history_from_folders(tmp_path / "likes", None).items[0]
    small = history_from_folders(tmp_path / "likes", None, longest_px=256).items[0]
    assert whole.image.size == (900, 300)
    assert small.image.size == (256, 85)
    assert small.sha256 == whole.sha256
    assert history_from_items([tmp_path / "likes" / "wide.png"], longest_px=256).items[0].image.size == (256, 85)


@pytest.mark.parametrize("time", ["2025", "20250301", " 20250301 "])
def test_digits_that_may_be_a_date_are_refused(time):
    with pytest.raises(InputError, match="may be a date"):
        history_from_items([Image.new("RGB", (8, 8))], times=[time])


@pytest.mark.parametrize(("name", "value"), [("weights", "1_0"), ("times", "1_000_000_000"), ("comments", "a" * 20001)])
def test_python_spellings_and_endless_texts_are_refused(name, value):
    with pytest.raises(InputError, match="expected"):
        history_from_items([Image.new("RGB", (8, 8))], **{name: [value]})
