"""JSONL and CSV manifests: what they may say, and the file and line of every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from prefgen.core import DataError, InputError, PrefGenError
from prefgen.history import history_from_manifest

COLOURS = ("red", "lime", "blue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "inside"
    (root / "deep").mkdir(parents=True)
    for colour in COLOURS:
        Image.new("RGB", (4, 4), colour).save(root / f"{colour}.png")
    Image.new("RGB", (4, 4), "white").save(root / "deep" / "white.png")
    Image.new("RGB", (4, 4), "black").save(tmp_path / "outside.png")
    return root


def jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "taste.jsonl"
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def csv(folder: Path, text: str) -> Path:
    path = folder / "taste.csv"
    path.write_text(text, encoding="utf-8")
    return path


def told(path: Path, kind: type[PrefGenError] = PrefGenError) -> str:
    with pytest.raises(kind) as caught:
        history_from_manifest(path)
    assert "\n" not in caught.value.message
    return str(caught.value)


def sides(path: Path) -> dict[str, str]:
    history = history_from_manifest(path)
    return {Path(item.source or "").stem: item.side for item in history.items}


def test_jsonl_and_csv_say_the_same(folder: Path) -> None:
    rows = [
        {"image": "red.png", "side": "like", "prompt": "a fox, red", "comment": "warm", "time": 5, "weight": 2},
        {"image": "deep/white.png", "side": "dislike", "time": "1970-01-01T00:00:07+00:00", "aspect": "style"},
    ]
    from_jsonl = history_from_manifest(jsonl(folder, *rows))
    text = (
        "image,side,prompt,comment,time,weight,aspect\r\n"
        'red.png,like,"a fox, red",warm,5,2,\r\n\r\n'
        "deep/white.png,dislike,,,1970-01-01T00:00:07Z,,style\r\n"
    )
    from_csv = history_from_manifest(csv(folder, "\ufeff" + text))
    assert from_csv == from_jsonl
    first, second = from_csv.items
    assert (first.prompt, first.comment, first.time_s, first.weight) == ("a fox, red", "warm", 5.0, 2.0)
    assert (second.side, second.time_s, second.aspect, second.prompt) == ("dislike", 7.0, "style", None)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(folder: Path, separator: str) -> None:
    assert sides(csv(folder, "image,side\nred.png,+\nblue.png,-\n".replace(",", separator))) == {
        "red": "like",
        "blue": "dislike",
    }


def test_bom_blank_lines_and_line_separators(folder: Path) -> None:
    path = jsonl(folder, "\ufeff", "", {"image": "red.png", "side": 1}, "  ")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"image": "blue.png", "side": false, "prompt": "one\u2028two"}\r\n')
    history = history_from_manifest(path)
    assert [item.prompt for item in history.items] == [None, "one\u2028two"]


@pytest.mark.parametrize("word", ["like", "Liked", " LIKE ", 1, "1", 1.0, True, "+", "yes", "positive"])
def test_words_for_liked(folder: Path, word: object) -> None:
    assert sides(jsonl(folder, {"image": "red.png", "side": word})) == {"red": "like"}


@pytest.mark.parametrize("word", ["dislike", "disliked", 0, "0", -1, False, "-", "no", "negative"])
def test_words_for_disliked(folder: Path, word: object) -> None:
    assert sides(jsonl(folder, {"image": "red.png", "side": word})) == {"red": "dislike"}


@pytest.mark.parametrize(
    ("label", "winner"),
    [
        ({"label_0": 1}, "red"),
        ({"label_0": 0}, "lime"),
        ({"label_1": 1}, "lime"),
        ({"label_0": 0.0, "label_1": 1.0}, "lime"),
        ({"label": 1}, "red"),
        ({"label": "image_1"}, "lime"),
    ],
)
def test_choices(folder: Path, label: dict, winner: str) -> None:
    row = {"image_0": "red.png", "image_1": "lime.png", "prompt": "p", "comment": "warmer", **label}
    history = history_from_manifest(jsonl(folder, row))
    assert [Path(item.source or "").stem for item in history.liked] == [winner]
    assert [item.comment for item in history.liked] == ["warmer"]
    assert [item.comment for item in history.disliked] == [None]
    assert {item.prompt for item in history.items} == {"p"}


def test_ties_are_dropped_and_counted(folder: Path) -> None:
    text = "image_0,image_1,label_0,label_1\nred.png,lime.png,0.5,0.5\nred.png,blue.png,1,0\n"
    history = history_from_manifest(csv(folder, text))
    assert (len(history), history.n_dropped_conflicts) == (2, 1)
    assert "1 dropped" in told(jsonl(folder, {"image_0": "red.png", "image_1": "lime.png", "label": "tie"}), InputError)


def test_the_latest_choice_stands(folder: Path) -> None:
    text = "image_0,image_1,label_0\nred.png,lime.png,1\nred.png,blue.png,0\n"
    assert sides(csv(folder, text)) == {"lime": "dislike", "blue": "like", "red": "dislike"}
    timed = "image_0,image_1,label_0,time\nred.png,lime.png,1,9\nred.png,blue.png,0,2\n"
    assert sides(csv(folder, timed))["red"] == "like"


def test_a_picture_chosen_over_itself_is_dropped(folder: Path) -> None:
    text = "image_0,image_1,label_0\nred.png,red.png,1\nlime.png,blue.png,1\n"
    history = history_from_manifest(csv(folder, text))
    assert (len(history), history.n_dropped_conflicts) == (2, 1)


def test_untimed_opinions_in_conflict_are_dropped(folder: Path) -> None:
    rows = [{"image": name, "side": side} for name, side in (("red.png", "+"), ("red.png", "-"), ("blue.png", "+"))]
    history = history_from_manifest(jsonl(folder, *rows))
    assert (len(history), history.n_dropped_conflicts) == (1, 1)


def test_the_order_of_rows_is_kept(folder: Path) -> None:
    rows = [{"image": f"{name}.png", "side": side} for name, side in (("blue", 0), ("red", 1), ("lime", 0))]
    assert list(sides(jsonl(folder, *rows))) == ["blue", "red", "lime"]


@pytest.mark.parametrize("path", ["../outside.png", "deep/../../outside.png", "C:\\outside.png", "\\\\host\\x.png"])
def test_paths_may_not_leave_the_folder(folder: Path, path: str) -> None:
    message = told(jsonl(folder, {"image": path, "side": 1}), InputError)
    assert "line 1" in message
    assert "leads out of the folder" in message


def test_absolute_paths_and_links_may_not_leave_either(folder: Path) -> None:
    outside = folder.parent / "outside.png"
    (folder / "link.png").symlink_to(outside)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    for path in (str(outside), "link.png"):
        manifest = jsonl(folder, {"image": path, "side": 1})
        assert "leads out" in told(manifest, InputError)
        assert len(history_from_manifest(manifest, allow_outside=True)) == 1
    told(jsonl(folder, {"image": "loop.png", "side": 1}), InputError)


def test_a_way_round_that_stays_inside(folder: Path) -> None:
    assert sides(jsonl(folder, {"image": "deep/../red.png", "side": 1})) == {"red": "like"}


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"image": "red.png", "side": 1, "promt": "x"}, "did you mean 'prompt'"),
        ({"image": "red.png", "side": 1, "zzz": "x"}, "known: aspect"),
        ({"image": "red.png"}, "no 'side'"),
        ({"side": 1}, "no 'image'"),
        ({"image_0": "red.png", "label_0": 1}, "no 'image_1'"),
        ({"image_0": "red.png", "image_1": "lime.png"}, "no 'label_0'"),
        ({"image": "red.png", "side": 1, "label": 1}, "not both"),
        ("[1, 2]", "expected a JSON object"),
        ('{"image": ', "not valid JSON"),
        ('{"image": "red.png", "image": "blue.png", "side": 1}', "stands twice"),
        ("[" * 100_000, "not valid JSON"),
        ('{"image": "red.png", "side": 1, "weight": ' + "9" * 5000 + "}", "line 2"),
    ],
)
def test_layout_errors_name_file_and_line(folder: Path, row: object, part: str) -> None:
    message = told(jsonl(folder, {"image": "blue.png", "side": 1}, row))
    assert "taste.jsonl, line 2: " in message
    assert part in message


@pytest.mark.parametrize(
    "row",
    [
        {"image": "red.png", "side": "meh"},
        {"image": "red.png", "side": [1]},
        {"image": 7, "side": 1},
        {"image": " ", "side": 1},
        {"image": "a\0b.png", "side": 1},
        {"image": "gone.png", "side": 1},
        {"image": "taste.jsonl", "side": 1},
        {"image": "deep", "side": 1},
        {"image": "red.png", "side": 1, "weight": float("nan")},
        {"image": "red.png", "side": 1, "weight": "2,5"},
        {"image": "red.png", "side": 1, "time": "soon"},
        {"image": "red.png", "side": 1, "time": float("inf")},
        {"image": "red.png", "side": 1, "aspect": "smell"},
        {"image": "red.png", "side": 1, "prompt": {"a": 1}},
        {"image_0": "red.png", "image_1": "lime.png", "label_0": 0.7},
        {"image_0": "red.png", "image_1": "lime.png", "label_0": 1, "label_1": 1},
        {"image_0": "red.png", "image_1": "lime.png", "label_0": "image_0"},
    ],
)
def test_value_errors_name_file_and_line(folder: Path, row: dict) -> None:
    assert "taste.jsonl, line 2: " in told(jsonl(folder, "", row), InputError)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("image,side,promt\nred.png,1,x\n", "line 2: unknown column 'promt'"),
        ("image,image,side\nred.png,red.png,1\n", "line 1: the column 'image' stands twice"),
        ("image,side\nred.png,1,what, is this\n", "line 2: 4 cells under 2 columns"),
        ("image,side\n\nred.png\n", "line 3: no 'side'"),
        ('image,side\n"red.png,1\n', "broken CSV"),
        ("image,side\nred.png," + "x" * 200_000 + "\n", "line 2: broken CSV"),
    ],
)
def test_csv_errors_name_file_and_line(folder: Path, text: str, part: str) -> None:
    message = told(csv(folder, text), DataError)
    assert "taste.csv, line" in message
    assert part in message


def test_files_that_are_no_manifest(folder: Path) -> None:
    (folder / "latin.csv").write_bytes("image,side,prompt\nred.png,1,é\n".encode("latin-1"))
    assert "not UTF-8" in told(folder / "latin.csv", DataError)
    assert "does not exist" in told(folder / "gone.jsonl", InputError)
    assert "neither .jsonl nor .csv" in told(folder / "red.png", InputError)
    (folder / "dir.csv").mkdir()
    assert "cannot be read" in told(folder / "dir.csv", InputError)
    assert "no picture" in told(csv(folder, ""), InputError)
    assert "no picture" in told(csv(folder, "image,side\n,\n"), InputError)
