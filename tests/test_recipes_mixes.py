"""Mixes of simulated people and judges of designers' pictures: who judges what, and that training on them is felt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from prefgen.core import InputError, numpy_rng
from prefgen.recipes.retrained import mixes
from prefgen.recipes.retrained.designers import Gallery, is_held_out, judged_by, read_gallery, vendors_of_fold

VENDORS = ("blob", "flat", "line", "round")


def small_gallery() -> Gallery:
    """Four vendors, 320 concepts in five groups; each vendor has a hue of its own."""
    rng = np.random.default_rng(0)
    hues = rng.integers(40, 255, (4, 3))
    images = np.full((1280, 64, 64, 3), 255, np.uint8)
    rows = {v: {f"concept {k}": 320 * n + k for k in range(320)} for n, v in enumerate(VENDORS)}
    for n in range(4):
        for k in range(320):
            images[320 * n + k, 8 : 56 - k % 20, 8 + k % 16 : 56] = hues[n]
    groups = {f"concept {k}": ("food", "beasts", "tools", "signs", "places")[k % 5] for k in range(320)}
    return Gallery(images=images, rows=rows, groups=groups)


def concept_and_vendor(gallery: Gallery, place: int) -> tuple[str, str]:
    return next((c, v) for v, of in gallery.rows.items() for c, at in of.items() if at == place)


def test_each_fold_tests_other_vendors_than_it_trains_on_and_all_pairs_come_round() -> None:
    folds = [vendors_of_fold(VENDORS, k) for k in range(6)]
    assert all(not set(train) & set(tested) and len(train) == len(tested) == 2 for train, tested in folds)
    assert len({frozenset(tested) for _, tested in folds}) == 6


@pytest.mark.parametrize("kind", ["style", "subject", "picks"])
@pytest.mark.parametrize("held_out", [False, True])
def test_judged_pictures_are_of_the_split_and_a_query_is_never_shown(kind: str, held_out: bool) -> None:
    gallery = small_gallery()
    for k in range(20):
        one = judged_by(numpy_rng("t", k), gallery, kind, VENDORS[:2], held_out=held_out)  # type: ignore[arg-type]
        told = [(concept_and_vendor(gallery, item.picture), item.side) for item in one.items]
        asked = [concept_and_vendor(gallery, place) for place in one.asked]
        assert [side for _, side in told] == ["like"] * 4 + ["dislike"] * 4
        assert len(asked) == 4
        assert {v for (_, v), _ in told} | {v for _, v in asked} <= set(VENDORS[:2])
        assert all(is_held_out(c) == held_out for c in [c for (c, _), _ in told] + [c for c, _ in asked])
        assert not {c for (c, _), _ in told} & {c for c, _ in asked}
        liked, disliked = ([of for of, side in told if side == s] for s in ("like", "dislike"))
        if kind == "subject":
            groups = [{gallery.groups[c] for c, _ in side} for side in (liked + asked[::2], disliked + asked[1::2])]
            assert not groups[0] & groups[1]
        else:
            assert len({v for _, v in liked + asked[::2]}) == len({v for _, v in disliked + asked[1::2]}) == 1
            assert liked[0][1] != disliked[0][1]
        assert ([c for c, _ in liked] == [c for c, _ in disliked]) == (kind == "picks")


def test_no_gallery_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"emoji64\.npz"):
        read_gallery(tmp_path)


def test_rows_are_paired_by_person() -> None:
    found = {
        ("picks", share, seed): {kind: [0.5 + share / 4, 0.5 + share / 2] for kind in ("simulated", *mixes.TESTED)}
        for share in (0.0, 1.0)
        for seed in (0, 1)
    }
    rows = {(r.method, r.metric): r for r in mixes._rows("picks", (0.0, 1.0), (0, 1), found)}
    assert rows["100 % real", "yes_no_style@picks"].value == pytest.approx(0.875)
    assert rows["100 % real", "style_above_0 % real@picks"].value == pytest.approx(0.375)
    assert ("0 % real", "style_above_0 % real@picks") not in rows


@pytest.mark.slow
def test_mixes_train_and_real_pictures_teach_what_they_show(tmp_path: Path) -> None:
    gallery = small_gallery()
    (tmp_path / "emoji").mkdir()
    np.savez(tmp_path / "emoji" / "emoji64.npz", images=gallery.images)
    lines = ["row,style,name,group"]
    lines += [f"{at},{v},{c},{gallery.groups[c]}" for v, of in gallery.rows.items() for c, at in of.items()]
    (tmp_path / "emoji" / "emoji64.csv").write_text("\n".join(lines))
    sizes = {"n_samples": 2_000, "n_tested": 20, "n_people": 8, "n_validation": 4}
    given = {"data": tmp_path, "out": tmp_path / "out", "shares": (0.0, 1.0), "seeds": (0,), **sizes}
    result = mixes.bench_mixes(report=tmp_path / "page", **given)  # type: ignore[arg-type]
    value = {(r["method"], r["metric"]): r["value"] for r in result["rows"]}
    assert value["100 % real", "yes_no_style@designers"] > 0.8
    assert "<svg" in (tmp_path / "page" / "mixes.html").read_text()
    assert json.loads((tmp_path / "out" / "mixes.json").read_text())["rows"] == result["rows"]
