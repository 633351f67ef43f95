"""While the adapter learns, held-out people's prompts are painted, and nothing that is learned is other for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prefgen.recipes.full_people import samples
from prefgen.recipes.full_people.run import train_full_on_people
from raw_choices import bytes_under
from tiny_own_data import people_folder
from tiny_published import published_preset


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["sd15", "sdxl", "sd3", "flux"])
def test_sheets_show_what_a_person_changes(backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "N_STEPS", 2)
    people_folder(tmp_path / "people", 14, splits=("train", "train", "validation", "test"))
    fast = {"preference_samples": 0, "choose_every": 8, "adapter_samples": 16, "adapter_rate": 3e-2, "ema": False}
    compared = backbone == "sd15"
    for n_people in (0, 2) if compared else (2,):
        preset = published_preset(tmp_path, f"{backbone}-smolvlm", shown_people=n_people, **fast)
        work, out = tmp_path / f"work-{n_people}", tmp_path / f"model-{n_people}"
        assert train_full_on_people(tmp_path / "people", preset, work=work, out=out)
    sheets = {
        path.stem: np.asarray(Image.open(path)).astype(int) for path in (tmp_path / "work-2" / "samples").iterdir()
    }
    assert set(sheets) == {"adapter-00000008", "adapter-00000016", "adapter-best"}
    first, last = sheets["adapter-00000008"], sheets["adapter-00000016"]
    half = first.shape[1] // 2
    assert np.array_equal(first[:, :half], last[:, :half]), "nobody is painted the same at every look"
    assert not np.array_equal(first[:, half:], last[:, half:]), "the person is not"
    if not compared:
        return
    assert not (tmp_path / "work-0" / "samples").exists()
    plain, shown = (bytes_under(tmp_path / f"model-{n}") for n in (0, 2))
    learned = [part for part in plain if part.startswith(("adapter/", "user_encoder/"))]
    assert len(learned) > 3
    assert all(plain[part] == shown[part] for part in learned)
