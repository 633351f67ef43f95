"""The PrefBench layout: a round trip loses nothing, and what cannot be held is refused before anything is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from prefgen.core import DataError, History, HistoryItem, InputError, PrefGenError, Side
from prefgen.history import PrefBenchRecord, histories_from_prefbench, write_prefbench


def item(side: Side, red: int, prompt: str | None = "a fox", **values) -> HistoryItem:
    return HistoryItem(image=Image.new("RGB", (4, 4), (red, 0, 9)), side=side, prompt=prompt, **values)


def record(*items: HistoryItem, **values) -> PrefBenchRecord:
    pairs = items or (item("like", 1), item("like", 2, "a lake"), item("dislike", 3), item("dislike", 4, "a lake"))
    given = {"user_id": "u1", "target": item("like", 99, "a boat"), "history": History(items=pairs), **values}
    return PrefBenchRecord(**given)


def row(**values) -> dict:
    plain = {
        "id": 7,
        "image_file": "t.png",
        "text": "a boat",
        "positive_img": ["a.png"],
        "negative_img": ["b.png"],
        "prompt_list": ["a fox"],
    }
    return {key: value for key, value in {**plain, **values}.items() if value is not ...}


def written(folder: Path, *rows: object) -> Path:
    for red, name in enumerate(("t.png", "a.png", "b.png")):
        Image.new("RGB", (4, 4), (red, 0, 0)).save(folder / name)
    path = folder / "bench.json"
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def test_round_trip(tmp_path: Path) -> None:
    records = [
        record(liked_attributes="Orange, Pop Art", disliked_attributes="Muted – grau"),
        record(item("like", 1), item("dislike", 5), user_id="u2"),
    ]
    path = write_prefbench(iter(records), tmp_path / "out" / "bench.json")
    back = list(histories_from_prefbench(path))
    assert back == records
    assert [kept.image.tobytes() for kept in back[0].history.items] == [
        kept.image.tobytes() for kept in records[0].history.items
    ]
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert rows[0]["attributes"] == ["Muted – grau", "Orange, Pop Art"]
    assert rows[0]["prompt_list"] == ["a fox", "a lake"]
    assert {file.suffix for file in (tmp_path / "out").iterdir() if file.is_file()} == {".json"}
    assert len(list((tmp_path / "out" / "images").glob("*.png"))) == 6
    again = write_prefbench(back, tmp_path / "out" / "bench.json")
    assert list(histories_from_prefbench(again)) == records


def test_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    path = written(tmp_path, row())
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    path = path.rename(moved / "bench.json")
    (found,) = histories_from_prefbench(path, tmp_path)
    assert found.user_id == "7"
    assert found.target.prompt == "a boat"
    assert [(kept.side, kept.prompt) for kept in found.history.items] == [("like", "a fox"), ("dislike", "a fox")]
    assert (found.liked_attributes, found.disliked_attributes) == ("", "")


def test_a_picture_on_both_sides_is_dropped(tmp_path: Path) -> None:
    both = row(positive_img=["a.png", "b.png"], negative_img=["b.png", "t.png"], prompt_list=["p", "q"])
    (found,) = histories_from_prefbench(written(tmp_path, both))
    assert (len(found.history), found.history.n_dropped_conflicts) == (2, 1)


def test_pictures_are_loaded_as_they_are_asked_for(tmp_path: Path) -> None:
    records = histories_from_prefbench(written(tmp_path, row(), row(image_file="gone.png")))
    assert next(records).user_id == "7"
    with pytest.raises(InputError, match=r"bench\.json, record 1: .*gone\.png does not exist"):
        next(records)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"positive_img": ...}, "no 'positive_img'"),
        ({"prompt_list": ..., "promt_list": []}, "did you mean 'promt_list'"),
        ({"prompt_list": ["a", "b"]}, "prompt_list 2, positive_img 1, negative_img 1"),
        ({"negative_img": []}, "unequal length"),
        ({"positive_img": "a.png"}, "list of texts as 'positive_img'"),
        ({"prompt_list": [None]}, "list of texts as 'prompt_list'"),
        ({"id": None}, "'id'"),
        ({"id": True}, "'id'"),
        ({"text": 3}, "'text'"),
        ({"attributes": ["only one"]}, "expected 2 texts"),
    ],
)
def test_layout_errors_come_at_once_and_name_the_record(tmp_path: Path, changed: dict, part: str) -> None:
    path = written(tmp_path, row(), row(**changed))
    with pytest.raises(DataError) as caught:
        histories_from_prefbench(path)
    assert "bench.json, record 1: " in str(caught.value)
    assert part in str(caught.value)


@pytest.mark.parametrize("text", ['{"id": 1}', "[1]", "[", '[{"id": 1, "id": 2}]', ""])
def test_other_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json"):
        histories_from_prefbench(tmp_path / "x.json")


def test_paths_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    path = written(tmp_path, row(positive_img=["../a.png"]))
    with pytest.raises(InputError, match="leads out of the folder"):
        list(histories_from_prefbench(path, root))
    with pytest.raises(InputError, match="does not exist"):
        histories_from_prefbench(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("refused", "part"),
    [
        (record(item("like", 1, time_s=5.0), item("dislike", 2)), "time 5.0"),
        (record(item("like", 1, weight=2.0), item("dislike", 2)), "weight 2.0"),
        (record(item("like", 1), item("dislike", 2, comment="too grey")), "comment 'too grey'"),
        (record(item("like", 1, aspect="style"), item("dislike", 2)), "aspect 'style'"),
        (record(item("like", 1, None), item("dislike", 2, None)), "no prompt"),
        (record(item("like", 1), item("like", 2), item("dislike", 3)), "2 liked and 1 disliked"),
        (record(item("like", 1)), "1 liked and 0 disliked"),
        (record(item("like", 1, "a fox"), item("dislike", 2, "a lake")), "two prompts"),
        (record(item("like", 1), item("dislike", 1)), "twice"),
        (record(target=item("dislike", 9)), "target"),
        (record(target=item("like", 9, None)), "no prompt"),
        (record(target=item("like", 9, weight=3.0)), "weight"),
    ],
)
def test_what_the_layout_cannot_hold_is_refused(tmp_path: Path, refused: PrefBenchRecord, part: str) -> None:
    with pytest.raises(DataError) as caught:
        write_prefbench([record(), replace(refused, user_id="u9")], tmp_path / "bench.json")
    assert "record 1 (user 'u9'): " in str(caught.value)
    assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_errors_are_ours(tmp_path: Path) -> None:
    assert issubclass(DataError, PrefGenError)
    with pytest.raises(InputError):
        histories_from_prefbench(tmp_path)
