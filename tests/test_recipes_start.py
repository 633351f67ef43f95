"""Training on from a finished model: its parts are taken over in full precision, and only what trains on changes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from prefgen.core import ModelError
from prefgen.recipes.checkpoint import cast_copy, load_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Deadline
from prefgen.recipes.presets import preset_named
from prefgen.recipes.start import begin_from


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A shipped model with one part, and baselines beside it."""
    model = tmp_path / "shipped" / "embedded"
    for folder in (model / "unet", model.parent / "baselines" / "ip_adapter"):
        folder.mkdir(parents=True)
        tensors = {"weight": torch.full((2, 2), 0.1, dtype=torch.float16), "count": torch.tensor(3)}
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (model / "model_index.json").write_text("{}")
    return model


def test_everything_arrives_in_full_precision_with_its_metadata(finished: Path, tmp_path: Path) -> None:
    begin_from(finished, tmp_path / "run" / "model")
    for path in ("model/unet", "baselines/ip_adapter"):
        copy = tmp_path / "run" / path / "model.safetensors"
        tensors = load_tensors(copy)
        assert tensors["weight"].dtype == torch.float32
        assert tensors["count"].dtype == torch.int64
        with safe_open(copy, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}


def test_what_has_been_trained_on_since_is_left_alone(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run" / "model"
    begin_from(finished, out)
    (out / "model_index.json").write_text(json.dumps({"trained": "on"}))
    begin_from(finished, out)
    assert json.loads((out / "model_index.json").read_text()) == {"trained": "on"}


def test_there_and_back_keeps_every_value(finished: Path, tmp_path: Path) -> None:
    cast_copy(finished, tmp_path / "full", torch.float32)
    cast_copy(tmp_path / "full", tmp_path / "half", torch.float16)
    there, back = (load_tensors(folder / "unet" / "model.safetensors") for folder in (finished, tmp_path / "half"))
    assert torch.equal(there["weight"], back["weight"])
    assert back["weight"].dtype == torch.float16


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a finished model"):
        begin_from(tmp_path, tmp_path / "run" / "model")


def test_a_stage_begins_again_once(tmp_path: Path) -> None:
    plain = Context(preset=preset_named("tiny"), work=tmp_path, out=tmp_path / "model", deadline=Deadline())
    again = Context(
        preset=preset_named("tiny"), work=tmp_path, out=tmp_path / "model", deadline=Deadline(), start=tmp_path
    )
    assert not plain.begins_again("adapter")
    assert again.begins_again("adapter")
    (tmp_path / "adapter.report.json").write_text("{}")
    assert not again.begins_again("adapter")
