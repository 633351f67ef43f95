"""Many people embedded and painted: everybody exactly once, whatever breaks off; here and on a local Ray cluster."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from embedders import colour_embedder, mean_colour, mortal_embedder
from prefgen.core import ConfigError, DataError, InputError, ModelError, PrefGenError
from prefgen.recipes.embed_people import embed_people, read_index, shards, stored_tokens
from prefgen.recipes.many import check_cpus, each
from prefgen.recipes.paint_people import paint_people
from prefgen.recipes.people_manifest import places, rows_at
from prefgen.recipes.population import N_HISTORY, person_pictures

needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed: pip install 'prefgen[ray]'")
needs_pyarrow = pytest.mark.skipif(not find_spec("pyarrow"), reason="pyarrow is not installed")


def make_people(folder: Path, n: int) -> list[dict[str, Any]]:
    """Rows of people with a picture or two of each side, written out."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for k in range(16):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{k}.png")
    for i in range(n):
        liked = [f"{i % 8}.png"] + ([f"{(i + 3) % 8}.png"] if i % 3 == 0 else [])
        rows.append({"person": f"p-{i}", "liked": liked, "disliked": [f"{8 + i % 8}.png"] if i % 2 else []})
    return rows


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Thirty people as JSONL, blank lines and letters of more than one byte among them."""
    rows = make_people(tmp_path / "in", 30)
    rows[5]["person"] = "p-ü"
    lines = [json.dumps(row, ensure_ascii=False) + ("\n" if i % 4 else "\n\n") for i, row in enumerate(rows)]
    path = tmp_path / "in" / "people.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def everybody_once(out: Path, manifest: Path) -> None:
    """Every person of the manifest is in one shard and in the index, with their own tokens."""
    held = Counter(person for _, told in shards(out) for person in told["people"])
    named = [person for person, _ in places(manifest)]
    assert held == Counter(named)
    index = read_index(out)
    assert list(index)
    assert set(index) == set(named)
    for row in rows_at(manifest, [place for _, place in places(manifest)]):
        truth = mean_colour(row.history(manifest.parent))
        stored = stored_tokens(out, index[row.person])
        assert stored.like is not None
        assert truth.like is not None
        assert stored.dislike is not None
        assert truth.dislike is not None
        torch.testing.assert_close(stored.like, truth.like, atol=1e-3, rtol=0)
        torch.testing.assert_close(stored.dislike, truth.dislike, atol=1e-3, rtol=0)


def test_everybody_is_embedded_once_with_their_own_tokens(manifest: Path, tmp_path: Path) -> None:
    made = embed_people(manifest, tmp_path / "out", colour_embedder, people_a_shard=7)
    assert (made.n_now, made.n_before, made.failed) == (30, 0, {})
    assert len(list(shards(tmp_path / "out"))) == 5
    everybody_once(tmp_path / "out", manifest)


def test_a_broken_run_goes_on_with_whoever_is_left_in_shards_of_any_size(manifest: Path, tmp_path: Path) -> None:
    out, calls = tmp_path / "out", []

    def breaking() -> Any:
        def embed(history: Any) -> Any:
            calls.append(1)
            if len(calls) == 17:
                raise KeyboardInterrupt
            return mean_colour(history)

        return embed

    with pytest.raises(KeyboardInterrupt):
        embed_people(manifest, out, breaking, people_a_shard=5)
    again = embed_people(manifest, out, breaking, people_a_shard=4)
    assert (again.n_now, again.n_before) == (15, 15)
    everybody_once(out, manifest)
    third = embed_people(manifest, out, breaking, people_a_shard=4)
    assert (third.n_now, third.n_before) == (0, 30)
    assert len(calls) == 17 + 15, "nobody who was done is embedded again"


def test_people_added_later_are_embedded_alone(manifest: Path, tmp_path: Path) -> None:
    embed_people(manifest, tmp_path / "out", colour_embedder)
    with manifest.open("a") as file:
        file.write(json.dumps({"person": "late", "liked": ["1.png"]}) + "\n")
    assert embed_people(manifest, tmp_path / "out", colour_embedder).n_now == 1
    everybody_once(tmp_path / "out", manifest)


def test_who_cannot_be_read_is_named_and_tried_again(manifest: Path, tmp_path: Path) -> None:
    with manifest.open("a") as file:
        file.write(json.dumps({"person": "lost", "liked": ["gone.png"]}) + "\n")
        file.write(json.dumps({"person": "nobody", "liked": []}) + "\n")
        file.write(json.dumps({"person": "thief", "liked": ["../../etc/passwd"]}) + "\n")
    made = embed_people(manifest, tmp_path / "out", colour_embedder, people_a_shard=8)
    assert (made.n_now, set(made.failed)) == (30, {"lost", "nobody", "thief"})
    Image.new("RGB", (8, 8), "red").save(manifest.parent / "gone.png")
    again = embed_people(manifest, tmp_path / "out", colour_embedder, people_a_shard=8)
    assert (again.n_now, again.n_before, set(again.failed)) == (1, 30, {"nobody", "thief"})


def test_another_models_shards_are_refused(manifest: Path, tmp_path: Path) -> None:
    embed_people(manifest, tmp_path / "out", colour_embedder, made_by="a")
    with pytest.raises(ModelError, match="another model"):
        embed_people(manifest, tmp_path / "out", colour_embedder, made_by="b")


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("{", DataError, "line 1: not a row of JSON"),
        ('{"liked": []}', DataError, "expected a person's name"),
        ('{"person": "a", "liked": "x.png"}', DataError, "list of paths as `liked`"),
        ('{"person": "a"}\n{"person": "a"}', DataError, "'a' stands there twice"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path: Path, line: str, error: type[PrefGenError], message: str) -> None:
    (tmp_path / "m.jsonl").write_text(line)
    with pytest.raises(error, match=message):
        embed_people(tmp_path / "m.jsonl", tmp_path / "out", colour_embedder)


def test_missing_manifests_unknown_engines_and_small_clusters_are_named(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        embed_people(tmp_path / "no.jsonl", tmp_path / "out", colour_embedder)
    with pytest.raises(ConfigError, match="expected an engine of local, ray, got 'rya'"):
        list(each(lambda: lambda piece: piece, [1], engine="rya"))
    check_cpus(3, 2)
    with pytest.raises(ConfigError, match="at least 3 CPUs for 2 workers, got 2"):
        check_cpus(2, 2)


@needs_pyarrow
def test_parquet_is_read_by_rows_across_its_groups(manifest: Path, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = make_people(tmp_path / "in", 30)
    path = tmp_path / "in" / "people.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=8)
    assert [row.person for row in rows_at(path, [29, 0, 8, 7])] == ["p-0", "p-7", "p-8", "p-29"]
    embed_people(path, tmp_path / "out", colour_embedder, people_a_shard=7)
    everybody_once(tmp_path / "out", path)


def test_painted_people_are_the_populations_and_resume(tmp_path: Path) -> None:
    files = paint_people(tmp_path, 3, people_a_shard=2)
    from safetensors.torch import load_file

    from prefgen.agents.painter import paint

    first, last = (load_file(path)["pictures"] for path in files)
    assert (len(first), len(last)) == (2, 1)
    liked = person_pictures(2, "train").liked[0]
    assert np.array_equal(last[0, N_HISTORY].numpy(), paint(liked))
    before = files[0].stat().st_mtime_ns
    files[1].unlink()
    paint_people(tmp_path, 3, people_a_shard=2)
    assert files[0].stat().st_mtime_ns == before
    assert torch.equal(load_file(files[1])["pictures"], last)


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_worker_costs_nobody(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers on a local cluster, one of them killed in the middle: everybody once, and memory stays flat."""
    monkeypatch.setenv("PYTHONPATH", ":".join([str(Path(__file__).parent), *__import__("sys").path]))
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    rows = make_people(tmp_path / "in", 400)
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log, out = tmp_path / "log", tmp_path / "out"
    log.mkdir()
    make = partial(mortal_embedder, log, 130)
    made = embed_people(manifest, out, make, engine="ray", n_workers=2, people_a_shard=8)
    assert (log / "died").exists()
    assert made.n_now == 400
    everybody_once(out, manifest)
    calls = [line.split() for line in (log / "calls").read_text().splitlines()]
    assert 400 < len(calls) <= 400 + 2 * 8, "only the pieces that were under way are done again"
    assert len({pid for pid, _ in calls}) >= 3, "a new worker took the dead one's place"
    for pid in {pid for pid, _ in calls}:
        used = [int(kib) for who, kib in calls if who == pid]
        assert used[-1] - used[min(8, len(used) - 1)] < 20 * 1024, "KiB; what is embedded is not kept"
    assert embed_people(manifest, out, make, engine="ray", n_workers=2).n_now == 0


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_people_painted_by_workers_are_those_painted_here(tmp_path: Path) -> None:
    here, there = (
        paint_people(tmp_path / engine, 4, engine=engine, n_workers=2, people_a_shard=2) for engine in ("local", "ray")
    )
    assert [a.read_bytes() for a in here] == [b.read_bytes() for b in there]
