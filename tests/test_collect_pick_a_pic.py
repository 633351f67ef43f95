"""Pick-a-Pic to a folder of people: every drop counted, users merged, a kill in the middle changes no byte."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from prefgen.core import ConfigError, InputError
from prefgen.history import split_of
from prefgen.history.collect import PickAPic, Quality, Rules, collect, people_in
from prefgen.history.collect.pick_a_pic import NEEDED, verdict_of
from raw_choices import SCHEMA, bytes_under, choice, picture, plain_picture, steady_choices, write

ANYBODY = Rules(min_liked=1, min_disliked=1)


def quiet(message: str) -> None:
    """Says nothing."""


def collected(folder: Path, rows: list[dict], rules: Rules = ANYBODY, **writing) -> dict:
    write(folder / "raw" / "train-00000.parquet", rows, **writing)
    return collect(PickAPic([folder / "raw"], rows_at_once=4), folder / "out", rules, say=quiet)


def people(folder: Path) -> dict:
    return {person.user_id: person for person in people_in(folder / "out")}


def test_users_are_grouped_and_their_choices_merged(tmp_path: Path) -> None:
    head = collected(tmp_path, steady_choices())
    found = people(tmp_path)
    assert set(found) == {"1", "2", "3"}
    assert head["counts"]["4 keep"]["users"] == 3
    history = found["2"].history()
    assert (len(history.liked), len(history.disliked)) == (6, 6)
    assert [item.prompt for item in history.liked] == [f"prompt {turn}" for turn in range(6)]
    liked = [2000 + 2 * turn + (0 if turn % 2 else 1) for turn in range(6)]
    names = [Path(str(item.source)).stem for item in history.liked]
    assert names == [hashlib.sha256(picture(number)).hexdigest() for number in liked]


def test_a_picture_is_stored_as_it_came_under_its_own_hash(tmp_path: Path) -> None:
    head = collected(tmp_path, steady_choices())
    files = list((tmp_path / "out" / "images").rglob("*.*"))
    assert len(files) == 36 == head["counts"]["4 keep"]["pictures"]
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        assert path.parent.name == path.stem[:2]
        assert path.suffix == ".jpg"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (choice(9, 1, 2, 0.5), "tie"),
        (choice(9, 1, 2, None), "no_label"),
        (choice(9, 1, 2, has_label=False), "no_label"),
        (choice(9, 1, 2, label_0=float("nan"), label_1=None), "no_label"),
        (choice(9, 1, 2, 1.0, label_1=1.0), "bad_label"),
        (choice(9, 1, 2, 0.7), "bad_label"),
        (choice(9, b"not a picture", 2), "unreadable"),
        (choice(9, 1, picture(2)[:-200]), "unreadable"),
        (choice(9, b"", 2), "no_picture"),
        (choice(9, 1, 2, jpg_1=None), "no_picture"),
        (choice(9, picture(1, 32), 2), "too_small"),
        (choice(9, 1, plain_picture()), "one_colour"),
        (choice(9, 1, 1), "same_picture_twice"),
        (choice(9, picture(1, kind="PNG"), picture(1, kind="BMP")), "same_picture_twice"),
        (choice(None, 1, 2), "no_user"),
        (choice(9, 1, 2, caption="fox " * 6000), "bad_caption"),
    ],
)
def test_what_is_dropped_is_counted_under_its_reason(tmp_path: Path, row: dict, reason: str) -> None:
    head = collected(tmp_path, [*steady_choices(1), row, choice(9, 51, 52)])
    drop = head["counts"]["1 drop"]
    assert drop[f"dropped {reason}"] == 1
    assert (drop["rows"], drop["kept"]) == (8, 7)
    assert [name for name in drop if name.startswith("dropped")] == [f"dropped {reason}"]
    history = people(tmp_path)["9"].history()
    assert (len(history.liked), len(history.disliked)) == (1, 1)


def test_a_pair_judged_both_ways_by_one_user_is_dropped_whole_and_another_users_is_not(tmp_path: Path) -> None:
    rows = [choice(1, 1, 2), choice(1, 2, 1), choice(1, 3, 4), choice(2, 2, 1)]
    head = collected(tmp_path, rows)
    assert head["counts"]["1 drop"]["opinions of pairs judged both ways"] == 4
    assert {user: len(person.items) for user, person in people(tmp_path).items()} == {"1": 2, "2": 2}


def test_a_repeated_choice_counts_once(tmp_path: Path) -> None:
    head = collected(tmp_path, [choice(1, 1, 2), choice(1, 1, 2), choice(1, 2, 1, 0.0)])
    assert head["counts"]["1 drop"]["repeated opinions"] == 4
    assert len(people(tmp_path)["1"].items) == 2


def test_an_untimed_picture_on_both_sides_is_dropped_and_counted(tmp_path: Path) -> None:
    head = collected(tmp_path, [choice(1, 1, 2), choice(1, 2, 3), choice(1, 4, 5)])
    assert head["counts"]["3 merge"]["pictures liked and disliked"] == 1
    person = people(tmp_path)["1"]
    shown = {Path(str(row["image"])).stem for row in person.items}
    assert hashlib.sha256(picture(2)).hexdigest() not in shown
    assert person.history().n_dropped_conflicts == 1
    assert len(shown) == 4


@pytest.mark.parametrize(("first_day", "second_day", "side"), [(1, 2, "like"), (2, 1, "dislike")])
def test_a_timed_picture_on_both_sides_follows_the_latest_opinion(
    tmp_path: Path, first_day: int, second_day: int, side: str
) -> None:
    days = [datetime(2023, 3, day, tzinfo=timezone.utc) for day in (first_day, second_day)]
    rows = [choice(1, 1, 2, created_at=days[0]), choice(1, 2, 3, created_at=days[1])]
    head = collected(tmp_path, rows)
    assert head["counts"]["3 merge"]["pictures liked and disliked"] == 0
    sides = {Path(str(row["image"])).stem: row["side"] for row in people(tmp_path)["1"].items}
    assert sides[hashlib.sha256(picture(2)).hexdigest()] == side
    assert {item.time_s for item in people(tmp_path)["1"].history().items} == {day.timestamp() for day in days}


def test_users_need_enough_on_both_sides_and_their_pictures_go_with_them(tmp_path: Path) -> None:
    rows = [*steady_choices(1, 4), choice(7, 71, 72), choice(7, 71, 73), choice(7, 71, 74)]
    head = collected(tmp_path, rows, Rules(min_liked=2, min_disliked=3))
    assert set(people(tmp_path)) == {"1"}
    assert head["counts"]["4 keep"]["users with too few pictures"] == 1
    stored = {path.stem for path in (tmp_path / "out" / "images").rglob("*.jpg")}
    assert stored == {hashlib.sha256(picture(1000 + number)).hexdigest() for number in range(8)}


def test_nobody_left_says_what_to_do_and_other_limits_need_no_new_reading(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody is left of 3 users") as caught:
        collected(tmp_path, steady_choices(), Rules(min_liked=50))
    assert "--min-liked" in str(caught.value)
    assert json.loads((tmp_path / "out" / "counts.json").read_text())["4 keep"] == {"users with too few pictures": 3}
    head = collect(PickAPic([tmp_path / "raw"], rows_at_once=4), tmp_path / "out", ANYBODY, say=quiet)
    assert head["counts"]["4 keep"]["users"] == 3  # type: ignore[index]


def test_counts_are_said_step_by_step_and_saved(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", steady_choices())
    said: list[str] = []
    head = collect(PickAPic([tmp_path / "a.parquet"]), tmp_path / "out", ANYBODY, say=said.append)
    assert [line.split(":")[0] for line in said[-4:]] == ["1 drop", "2 group", "3 merge", "4 keep"]
    assert json.loads((tmp_path / "out" / "counts.json").read_text()) == head["counts"]
    assert json.loads((tmp_path / "out" / "data.json").read_text()) == head


def test_users_are_split_by_who_they_are(tmp_path: Path) -> None:
    rules = Rules(min_liked=1, min_disliked=1, train=0.5, validation=0.25, test=0.25, people_per_shard=2)
    head = collected(tmp_path, steady_choices(12, 1), rules)
    found = people(tmp_path)
    assert len(found) == 12
    for person in found.values():
        assert person.split == split_of(person.user_id, train=0.5, validation=0.25, test=0.25)
    shards = head["shards"]
    for split, paths in shards.items():
        lines = [(tmp_path / "out" / path).read_text().splitlines() for path in paths]
        assert sum(map(len, lines)) == head["counts"]["4 keep"].get(f"users in {split}", 0)
        assert all(len(shard) == 2 for shard in lines[:-1])
    assert {person.user_id for person in people_in(tmp_path / "out", "test")} == {
        user for user, person in found.items() if person.split == "test"
    }


def test_wrong_shares_are_told_before_anything_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", steady_choices())
    with pytest.raises(ConfigError):
        collect(PickAPic([tmp_path]), tmp_path / "out", Rules(train=0.9), say=quiet)
    assert not (tmp_path / "out").exists()


def test_only_the_columns_that_count_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    asked: list[list[str]] = []
    real = pq.ParquetFile.iter_batches

    def watched(self, *arguments, columns=None, **named):
        asked.append(columns)
        return real(self, *arguments, columns=columns, **named)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    collected(tmp_path, steady_choices())
    assert asked == [[*NEEDED, "label_1", "has_label", "created_at"]]


def test_old_columns_suffice_and_pictures_may_be_structs(tmp_path: Path) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema(
        [*(SCHEMA.field(name) for name in ("user_id", "caption", "label_0")), ("jpg_0", kind), ("jpg_1", kind)]
    )
    rows = [
        {**row, **{side: {"bytes": row[side], "path": "x.jpg"} for side in ("jpg_0", "jpg_1")}}
        for row in steady_choices()
    ]
    collected(tmp_path, rows, schema=schema)
    assert len(people(tmp_path)["3"].history()) == 12


def test_verdicts() -> None:
    assert verdict_of(1.0) is True
    assert verdict_of(0, 1) is False
    assert verdict_of(1, None, None) is True


# ---- going on after a kill


def run_to_end(source: Path, out: Path) -> dict:
    return collect(PickAPic([source], rows_at_once=4), out, ANYBODY, say=quiet)


@pytest.mark.parametrize("n_batches", [0, 1, 3, 7])
def test_a_run_stopped_between_batches_ends_in_the_same_bytes(tmp_path: Path, n_batches: int) -> None:
    rows = [*steady_choices(4, 6), choice(1, 1002, 1003, 1.0), choice(2, b"?", 5), choice(3, 3000, 3004)]
    for place, start in enumerate((0, 10, 20)):
        write(tmp_path / "raw" / f"{place}.parquet", rows[start : start + 10], rows_per_group=3)
    run_to_end(tmp_path / "raw", tmp_path / "whole")
    stopped = collect(
        PickAPic([tmp_path / "raw"], rows_at_once=4), tmp_path / "broken", ANYBODY, say=quiet, max_batches=n_batches
    )
    assert stopped == {}
    run_to_end(tmp_path / "raw", tmp_path / "broken")
    assert bytes_under(tmp_path / "broken") == bytes_under(tmp_path / "whole")


def test_what_is_in_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", steady_choices(4, 6), rows_per_group=3)
    collect(PickAPic([tmp_path], rows_at_once=4), tmp_path / "out", ANYBODY, say=quiet, max_batches=4)
    from prefgen.history.collect import index as module

    judged: list[bytes] = []
    real = module.checked_picture
    monkeypatch.setattr(module, "checked_picture", lambda data, quality: judged.append(data) or real(data, quality))
    run_to_end(tmp_path, tmp_path / "out")
    assert len(judged) == 2 * (24 - 4 * 4)


SCRIPT = """
import sys
from pathlib import Path
from prefgen.history.collect import PickAPic, Rules, collect

class Told(PickAPic):
    def batches(self, done):
        for batch in super().batches(done):
            print(batch.n_done, flush=True)
            yield batch

source, out = map(Path, sys.argv[1:])
collect(Told([source], rows_at_once=2), out, Rules(min_liked=1, min_disliked=1), say=lambda line: None)
"""


def test_a_killed_process_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "raw" / "a.parquet", steady_choices(10, 12), rows_per_group=16)
    run_to_end(tmp_path / "raw", tmp_path / "whole")
    out, starts = tmp_path / "killed", []
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "raw"), str(out)]
    for n_batches in (5, 9, 14):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(n_batches)]
        starts.append(int(told[0]))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert starts[0] == 2
    assert starts[0] < starts[1] < starts[2]  # each went on where the one before was killed
    assert not (out / "data.json").exists()
    run_with = collect(PickAPic([tmp_path / "raw"], rows_at_once=2), out, ANYBODY, say=quiet)
    assert run_with["counts"]["1 drop"]["rows"] == 120
    assert bytes_under(out) == bytes_under(tmp_path / "whole")


@pytest.mark.parametrize("batch", [0, 2])
def test_an_error_between_files_and_index_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    write(tmp_path / "raw" / "a.parquet", steady_choices())
    run_to_end(tmp_path / "raw", tmp_path / "whole")
    from prefgen.history.collect import index as module

    real, n_written = module.write_whole, []

    def failing(path: Path, data: bytes) -> None:
        n_written.append(path)
        if len(n_written) == 8 * batch + 5:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(path.name + ".part").write_bytes(data[:40])
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(module, "write_whole", failing)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(tmp_path / "raw", tmp_path / "out")
    monkeypatch.undo()
    run_to_end(tmp_path / "raw", tmp_path / "out")
    assert bytes_under(tmp_path / "out") == bytes_under(tmp_path / "whole")


def test_a_finished_folder_is_left_as_it_is(tmp_path: Path) -> None:
    head = collected(tmp_path, steady_choices())
    before = bytes_under(tmp_path / "out")
    assert run_to_end(tmp_path / "raw", tmp_path / "out") == head
    assert bytes_under(tmp_path / "out") == before


def test_other_sources_or_rules_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "raw" / "a.parquet", steady_choices())
    collect(PickAPic([tmp_path / "raw"]), tmp_path / "half", ANYBODY, say=quiet, max_batches=0)
    with pytest.raises(InputError, match="unfinished run of other sources"):
        collect(PickAPic([tmp_path / "raw"]), tmp_path / "half", Rules(quality=Quality(min_side_px=8)), say=quiet)
    run_to_end(tmp_path / "raw", tmp_path / "done")
    write(tmp_path / "raw" / "b.parquet", steady_choices())
    with pytest.raises(InputError, match="finished, from other sources"):
        run_to_end(tmp_path / "raw", tmp_path / "done")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        run_to_end(tmp_path / "raw", tmp_path / "mine")


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    from prefgen.history.collect.index import Index

    write(tmp_path / "raw" / "a.parquet", steady_choices())
    there = Index(tmp_path / "out", {"any": "run"}, Quality())
    with pytest.raises(InputError, match="another run is at work"):
        run_to_end(tmp_path / "raw", tmp_path / "out")
    there.close()
