"""Maps of people: histories of one person lie together where the embedding knows who they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prefgen.core import InputError
from prefgen.probing import map_of_people, plot_people


def three_people(spread: float) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(3)
    owners = [k for k in range(3) for _ in range(6)]
    return rng.normal(size=(3, 10))[owners] + spread * rng.normal(size=(18, 10)), owners


def test_histories_of_one_person_lie_together_and_a_seed_repeats_the_map() -> None:
    embeddings, owners = three_people(0.05)
    places = map_of_people(embeddings)
    far = np.linalg.norm(places[:, None] - places[None], axis=-1)
    same = np.equal.outer(owners, owners)
    assert far[same].max() < far[~same].min()
    assert np.array_equal(places, map_of_people(embeddings))
    with pytest.raises(InputError, match="at least 4"):
        map_of_people(embeddings[:3])


def test_a_constant_dimension_is_no_trouble() -> None:
    embeddings, _ = three_people(0.5)
    embeddings[:, 0] = 7
    assert np.isfinite(map_of_people(embeddings)).all()


def test_the_plot_has_a_panel_for_each_part(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    embeddings, owners = three_people(0.3)
    one = Image.open(plot_people({"e_core": embeddings}, owners, tmp_path / "one.png")).size
    two = Image.open(plot_people({"e_core": embeddings, "e_sem": embeddings}, owners, tmp_path / "two.png")).size
    assert two[0] > 1.9 * one[0]
