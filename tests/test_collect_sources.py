"""PrefBench's release, the predecessor's frames, folders of one's own, joins and shards; and files that mean harm."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import ImageFile

from prefgen.core import DataError, InputError, PrefGenError
from prefgen.history.collect import (
    Frames,
    PeopleFolders,
    PersonFolders,
    PickAPic,
    PrefBenchRelease,
    Rules,
    collect,
    people_in,
    unpack,
    write_shards,
)
from raw_choices import SCHEMA, bytes_under, choice, picture, steady_choices, write

ANYBODY = Rules(min_liked=1, min_disliked=0)


def quiet(message: str) -> None:
    """Says nothing."""


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def release(folder: Path) -> Path:
    """A JSON of two users, three records, and a tar in three parts."""
    names = {f"img/{number}.jpg": picture(number) for number in range(12)}
    whole = tar_of(folder / "images.tar", names).read_bytes()
    (folder / "images.tar").unlink()
    for part in range(3):
        start = part * (len(whole) // 3)
        (folder / f"images.tar.part-a{'abc'[part]}").write_bytes(
            whole[start : None if part == 2 else start + len(whole) // 3]
        )

    def record(user: int, first: int) -> dict:
        images = [f"img/{number}.jpg" for number in range(first, first + 3)]
        lists = {"positive_img": [images[1]], "negative_img": [images[2]], "prompt_list": ["a lake"]}
        return {"id": user, "image_file": images[0], "text": "a boat", **lists}

    path = folder / "test.json"
    path.write_text(json.dumps([record(1, 0), record(1, 3), record(2, 6)]))
    return path


def test_a_release_in_parts_becomes_people_with_targets_apart(tmp_path: Path) -> None:
    path = release(tmp_path)
    assert unpack([tmp_path], tmp_path / "images") == {"written": 12, "there": 0, "passed": 0}
    assert (tmp_path / "images" / "img" / "11.jpg").read_bytes() == picture(11)
    assert unpack([tmp_path], tmp_path / "images")["there"] == 12
    (tmp_path / "words.json").write_text(json.dumps({"2": ["muted", "gold, pop art"]}))
    source = PrefBenchRelease([path], tmp_path / "images", tmp_path / "words.json")
    head = collect(source, tmp_path / "out", ANYBODY, say=quiet)
    found = {person.user_id: person for person in people_in(tmp_path / "out")}
    assert [len(found[user].items) for user in ("1", "2")] == [4, 2]
    assert [len(found[user].targets) for user in ("1", "2")] == [2, 1]
    assert found["2"].attributes == ("muted", "gold, pop art")
    (target,) = found["2"].target_items()
    assert (target.side, target.prompt) == ("like", "a boat")
    assert target.sha256 not in {item.sha256 for item in found["2"].history().items}
    assert head["counts"]["4 keep"]["targets"] == 3  # type: ignore[index]


def test_a_release_stopped_in_the_middle_ends_in_the_same_bytes(tmp_path: Path) -> None:
    path = release(tmp_path)
    unpack([tmp_path], tmp_path / "images")
    source = PrefBenchRelease([path], tmp_path / "images", records_at_once=1)
    collect(source, tmp_path / "whole", ANYBODY, say=quiet)
    assert collect(source, tmp_path / "broken", ANYBODY, say=quiet, max_batches=2) == {}
    collect(source, tmp_path / "broken", ANYBODY, say=quiet)
    assert bytes_under(tmp_path / "broken") == bytes_under(tmp_path / "whole")


class Harm:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["side.pkl", "side.json", "side.parquet"])
def test_pickled_files_are_refused_by_name_and_by_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Harm(tmp_path / "harmed")))
    for make in (
        lambda: PrefBenchRelease([tmp_path / name], tmp_path),
        lambda: PrefBenchRelease([], tmp_path, tmp_path / name),
        lambda: Frames([tmp_path / name]),
    ):
        with pytest.raises(DataError, match=f"{name} is a pickled file") as caught:
            make()
        assert "docs/data.md" in str(caught.value)
    assert not (tmp_path / "harmed").exists()


# ---- archives that mean harm


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("member", "part"),
    [
        (tarfile.TarInfo("../escaped.png"), "leads out of the folder"),
        (tarfile.TarInfo("/tmp/escaped.png"), "leads out of the folder"),
        (tarfile.TarInfo("a/../../escaped.png"), "leads out of the folder"),
        (link("a.png", "/etc/passwd", tarfile.SYMTYPE), "neither a file nor a folder"),
        (link("a.png", "good.jpg", tarfile.LNKTYPE), "neither a file nor a folder"),
        (link("a.png", "", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (link("a.png", "", tarfile.CHRTYPE), "neither a file nor a folder"),
        (tarfile.TarInfo("taste.pkl"), "pickled file"),
        (tarfile.TarInfo("taste.pkl.txt"), "pickled file"),
    ],
)
def test_members_that_mean_harm_end_the_run_and_are_named(tmp_path: Path, member: tarfile.TarInfo, part: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(PrefGenError, match=part) as caught:
        unpack([tmp_path / "x.tar"], tmp_path / "deep" / "out")
    assert Path(member.name).name in str(caught.value)
    assert not list(tmp_path.rglob("escaped*"))
    assert not Path("/tmp/escaped.png").exists()
    assert not [path for path in (tmp_path / "deep").rglob("*") if path.is_symlink() or path.is_file()]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out"):
        unpack([tar_of(tmp_path / "x.tar", {"a/b.png": b"x"})], tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefgen.history.collect import tars

    monkeypatch.setattr(tars, "_SLACK_BYTES", 1 << 20)
    bomb = tar_of(tmp_path / "x.tar.gz", {f"{number}.png": bytes(1 << 20) for number in range(20)})
    with pytest.raises(DataError, match="bytes come out"):
        unpack([bomb], tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) < 3 << 20
    monkeypatch.setattr(tars, "MAX_FILE_BYTES", 1000)
    with pytest.raises(DataError, match="more than a png may have"):
        unpack([tar_of(tmp_path / "y.tar", {"a.png": bytes(1001)})], tmp_path / "out-2")


def test_a_huge_header_is_not_read_into_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(DataError, match="header of 8,589,934,592 bytes"):
        unpack([tmp_path / "x.tar"], tmp_path / "out")


def test_a_cut_or_changed_archive_is_told(tmp_path: Path) -> None:
    whole = tar_of(tmp_path / "x.tar", {"a.png": bytes(5000)})
    data = whole.read_bytes()
    whole.write_bytes(data[:2000])
    with pytest.raises(DataError, match=r"x\.tar: .*(cut short|damaged)"):
        unpack([whole], tmp_path / "out")
    assert not (tmp_path / "out" / "a.png").exists()
    (tmp_path / "x.tar").write_bytes(gzip.compress(data)[:-20])
    with pytest.raises(DataError, match="damaged or cut short"):
        unpack([whole], tmp_path / "out")
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    whole.write_bytes(data)
    with pytest.raises(DataError, match="another file of this name"):
        unpack([whole], tmp_path / "out")
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    with pytest.raises(InputError, match=r"no \.tar"):
        unpack([tmp_path / "out"], tmp_path / "out-2")


def test_numbered_parts_are_joined_by_number(tmp_path: Path) -> None:
    data = tar_of(tmp_path / "x.tar", {"a.png": picture(1, kind="PNG") + bytes(9000)}).read_bytes()
    (tmp_path / "x.tar").unlink()
    for number in range(11):
        (tmp_path / f"x.tar.{number}").write_bytes(data[number * 1000 : None if number == 10 else (number + 1) * 1000])
    assert unpack([tmp_path], tmp_path / "out")["written"] == 1


# ---- parquet and pictures that mean harm


def run(path: Path, out: Path) -> dict:
    return collect(PickAPic([path], rows_at_once=4), out, ANYBODY, say=quiet)


@pytest.mark.parametrize("kept", [0, 3, 50, -4, -2000])
def test_a_cut_parquet_is_told_before_anything_is_written(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "a.parquet", steady_choices())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"a\.parquet is damaged or cut short"):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_row_group_is_told_and_the_repaired_file_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", steady_choices(4, 6), rows_per_group=8)
    run(path, tmp_path / "whole")
    good = path.read_bytes()
    spoilt = bytearray(good)
    middle = len(good) * 5 // 6
    spoilt[middle - 9000 : middle] = bytes(9000)
    path.write_bytes(bytes(spoilt))
    with pytest.raises(DataError, match=r"a\.parquet is damaged"):
        run(path, tmp_path / "out")
    path.write_bytes(good)
    run(path, tmp_path / "out")
    assert bytes_under(tmp_path / "out") == bytes_under(tmp_path / "whole")


def test_captions_that_are_not_utf_8_or_huge_cost_their_row_only(tmp_path: Path) -> None:
    schema = SCHEMA.set(SCHEMA.get_field_index("caption"), pa.field("caption", pa.binary()))
    captions = [b"a fox", b"\xff\xfe\x00 fox", b"x" * 5_000_000, "ein Füchslein".encode()]
    rows = [choice(1, 2 * n, 2 * n + 1, caption=caption) for n, caption in enumerate(captions)]
    binary = write(tmp_path / "binary.parquet", rows, schema=schema)
    # the same bytes under a column that calls itself text, as a careless writer leaves them
    import pyarrow.parquet as pq

    table = pq.read_table(binary)
    texts = table["caption"].combine_chunks()
    lying = pa.Array.from_buffers(pa.string(), len(texts), texts.buffers())
    pq.write_table(table.set_column(table.column_names.index("caption"), "caption", lying), tmp_path / "text.parquet")
    for path in (binary, tmp_path / "text.parquet"):
        head = run(path, tmp_path / f"out-{path.stem}")
        assert head["counts"]["1 drop"]["dropped bad_caption"] == 2
        (person,) = people_in(tmp_path / f"out-{path.stem}")
        assert {item.prompt for item in person.history().items} == {"a fox", "ein Füchslein"}


def bomb_png(side_px: int) -> bytes:
    """A PNG of a few hundred bytes that says it is `side_px` square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side_px", [9_000, 60_000])
def test_decompression_bombs_are_unreadable_pictures(
    tmp_path: Path, side_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.parquet", [choice(1, bomb_png(side_px), 2), choice(1, 3, 4)])
    decoded: list[tuple[int, int]] = []
    real = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self.size) or real(self))
    head = run(path, tmp_path / "out")
    assert set(decoded) == {(64, 64)}
    assert head["counts"]["1 drop"]["dropped unreadable"] == 1


def test_missing_columns_and_files_are_named(tmp_path: Path) -> None:
    schema = SCHEMA.remove(SCHEMA.get_field_index("jpg_1"))
    rows = [{name: value for name, value in row.items() if name != "jpg_1"} for row in steady_choices()]
    with pytest.raises(DataError, match="no column 'jpg_1'"):
        run(write(tmp_path / "a.parquet", rows, schema=schema), tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        PickAPic([tmp_path / "gone"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.parquet file"):
        PickAPic([tmp_path / "empty"])


# ---- frames


def frame(user: int, first: int, **cells) -> dict:
    row = {
        "user_id": user,
        "reference_list": [picture(first), picture(first + 1)],
        "reference_list_bad": [picture(first + 2), picture(first + 3)],
        "reference_prompt_list": ["p0", "p1"],
        "image0": picture(first + 4),
        "image1": picture(first + 5),
        "prompt": "q",
        "label0": 0.0,
    }
    return {**row, **cells}


FRAME_SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "reference_list": pa.list_(pa.binary()),
        "reference_list_bad": pa.list_(pa.binary()),
        "reference_prompt_list": pa.list_(pa.string()),
        "image0": pa.binary(),
        "image1": pa.binary(),
        "prompt": pa.string(),
        "label0": pa.float64(),
    }
)


@pytest.mark.parametrize("queries", [True, False])
def test_frames_in_parquet(tmp_path: Path, queries: bool) -> None:
    path = write(tmp_path / "f.parquet", [frame(1, 0), frame(1, 10, label0=0.5), frame(2, 20)], schema=FRAME_SCHEMA)
    source = Frames([path], queries=queries)
    collect(source, tmp_path / "whole", ANYBODY, say=quiet)
    collect(source, tmp_path / "out", ANYBODY, say=quiet, max_batches=1)
    head = collect(source, tmp_path / "out", ANYBODY, say=quiet)
    assert bytes_under(tmp_path / "out") == bytes_under(tmp_path / "whole")
    found = {person.user_id: person.history() for person in people_in(tmp_path / "out")}
    assert (len(found["1"].liked), len(found["2"].liked)) == ((5, 3) if queries else (4, 2))
    assert [item.prompt for item in found["2"].liked] == (["p0", "p1", "q"] if queries else ["p0", "p1"])
    liked = found["2"].liked[-1]
    assert Path(str(liked.source)).read_bytes() == picture(25 if queries else 21)  # label0 0: image1 won
    assert head["counts"]["1 drop"].get("dropped tie", 0) == int(queries)  # type: ignore[index]


def test_frames_in_json_lines_with_paths(tmp_path: Path) -> None:
    names = {}
    for number in range(6):
        names[number] = f"{number}.jpg"
        (tmp_path / names[number]).write_bytes(picture(number))
    row = frame(1, 0, reference_list=[names[0], names[1]], reference_list_bad=[names[2], names[3]])
    row |= {"image0": names[4], "image1": names[5]}
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(row) + "\n")
    collect(Frames([path], tmp_path), tmp_path / "out", ANYBODY, say=quiet)
    (person,) = people_in(tmp_path / "out")
    assert len(person.items) == 6
    path.write_text(json.dumps({**row, "reference_list": ["../../etc/passwd", names[1]]}))
    with pytest.raises(InputError, match=r"f\.jsonl, row 0: .*leads out"):
        collect(Frames([path], tmp_path), tmp_path / "out-2", ANYBODY, say=quiet)
    path.write_text(json.dumps({**row, "reference_prompt_list": ["only one"]}))
    with pytest.raises(DataError, match="1 prompts for 2 liked"):
        collect(Frames([path], tmp_path), tmp_path / "out-3", ANYBODY, say=quiet)


# ---- folders, joins, shards


def own_folders(root: Path) -> Path:
    for person, (n_likes, n_dislikes) in {"ada": (2, 1), "bo": (1, 0)}.items():
        for side, n in (("likes", n_likes), ("dislikes", n_dislikes)):
            (root / person / side).mkdir(parents=True)
            for number in range(n):
                data = picture(len(person) * 100 + len(side) * 10 + number)
                (root / person / side / f"{number}.jpg").write_bytes(data)
    (root / "ada" / "likes" / "0.txt").write_text("a boat")
    (root / "notes").mkdir()
    return root


def test_folders_of_ones_own(tmp_path: Path) -> None:
    collect(PersonFolders(own_folders(tmp_path / "mine")), tmp_path / "out", ANYBODY, say=quiet)
    found = {person.user_id: person.history() for person in people_in(tmp_path / "out")}
    assert {name: (len(h.liked), len(h.disliked)) for name, h in found.items()} == {"ada": (2, 1), "bo": (1, 0)}
    assert [item.prompt for item in found["ada"].liked] == ["a boat", None]
    with pytest.raises(InputError, match="nobody in"):
        PersonFolders(tmp_path / "mine" / "notes")


def test_joined_folders_and_people_who_meet(tmp_path: Path) -> None:
    run(write(tmp_path / "a.parquet", steady_choices(2, 2)), tmp_path / "a")
    run(write(tmp_path / "b.parquet", [choice(2, 7001, 7002), choice(3, 7003, 7004)]), tmp_path / "b")
    collect(PeopleFolders([tmp_path / "a", tmp_path / "b"]), tmp_path / "one", ANYBODY, say=quiet)
    assert {p.user_id: len(p.items) for p in people_in(tmp_path / "one")} == {"1": 4, "2": 6, "3": 2}
    collect(PeopleFolders([tmp_path / "a", tmp_path / "b"], apart=True), tmp_path / "two", ANYBODY, say=quiet)
    assert {p.user_id: len(p.items) for p in people_in(tmp_path / "two")} == {"a/1": 4, "a/2": 4, "b/2": 2, "b/3": 2}


def test_shards_are_the_same_bytes_again_and_both_libraries_read_them(tmp_path: Path) -> None:
    import webdataset

    run(write(tmp_path / "a.parquet", steady_choices(5, 2)), tmp_path / "people")
    paths = write_shards(tmp_path / "people", tmp_path / "tars", people_per_shard=2)
    before = bytes_under(tmp_path / "tars")
    paths[1].unlink()
    assert write_shards(tmp_path / "people", tmp_path / "tars", people_per_shard=2) == paths
    assert bytes_under(tmp_path / "tars") == before
    wanted = {person.user_id: person for person in people_in(tmp_path / "people")}
    samples = list(webdataset.WebDataset([str(path) for path in paths], shardshuffle=False))
    assert len(samples) == 5
    for sample in samples:
        told = json.loads(sample["json"])
        items = wanted[told["user_id"]].items
        assert [row["side"] for row in told["items"]] == [row["side"] for row in items]
        for row, kept in zip(told["items"], items):
            assert sample[row["image"]] == (tmp_path / "people" / str(kept["image"])).read_bytes()


def test_a_folder_of_people_that_was_tampered_with_is_told(tmp_path: Path) -> None:
    head = run(write(tmp_path / "a.parquet", steady_choices(1, 2)), tmp_path / "out")
    shard = tmp_path / "out" / next(path for paths in head["shards"].values() for path in paths)
    good = shard.read_text()
    for text, part in [("{", "not valid JSON"), ("[]", "user_id"), (good.replace("images/", "../../"), "leads out")]:
        shard.write_text(text)
        with pytest.raises(PrefGenError, match=part):
            [person.history() for person in people_in(tmp_path / "out")]
    shard.write_bytes(b"\xff\xfe{}\n")
    with pytest.raises(DataError, match="not UTF-8"):
        list(people_in(tmp_path / "out"))
    (tmp_path / "out" / "data.json").write_text('{"format": "prefgen people", "version": 9}')
    with pytest.raises(DataError, match="version 1, got 9"):
        people_in(tmp_path / "out")
