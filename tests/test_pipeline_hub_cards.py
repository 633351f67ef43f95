"""The Python of a published card runs as it stands, for UNets and for FLUX, and paints for the person."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import build_model_folder, load_quietly, plain
from fake_hub import FakeHub, installed
from prefgen.core import InputError, ModelError
from prefgen.pipeline import HubCard, adapter_upload, export_to_diffusers, model_upload, push_adapter_to_hub
from prefgen.pipeline.hub_card import card_of
from prefgen.recipes.own_data.run import preset_with_people
from tiny_backbones import silent_pipeline
from tiny_diffusion import tiny_pipeline

CARD = HubCard(licence="openrail++", training_data="Twelve pictures of one colour.")
ADAPTERS = "someone/their-adapter"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return installed(tmp_path / "cache", monkeypatch)


def blocks(page: str) -> list[str]:
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def stock(family: str) -> Any:
    """A pipeline of diffusers alone, of the network that the family's model paints with."""
    pipe = tiny_pipeline() if family == "embedded" else silent_pipeline(family)
    if family == "flux":
        pipe.default_sample_size = 8
    return pipe


def painted(family: str, pipe: Any, person: dict[str, torch.Tensor] | None) -> np.ndarray:
    """As the exported README paints, in the tiny models' settings."""
    settings: dict[str, Any] = {"guidance_scale": 2.0, "num_inference_steps": 2, "output_type": "np"}
    sides = [] if person is None else [person["like"], person["dislike"]]
    if family == "flux":
        settings |= {"negative_prompt": "", "true_cfg_scale": 2.0}
        said = {"ip_adapter_image_embeds": [side[1:] for side in sides]}
        said |= {"negative_ip_adapter_image_embeds": [side[:1] for side in sides]}
    else:
        said = {"ip_adapter_image_embeds": sides}
    return pipe("a fox", generator=torch.Generator().manual_seed(7), **settings, **(said if sides else {})).images[0]


@pytest.mark.parametrize("family", ["embedded", "flux"])
def test_the_adapter_cards_python_runs_on_a_stock_pipeline(
    family: str, hub: FakeHub, loaded_models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded_models(family)
    me = model.profile(liked=[plain("red")], disliked=[plain("blue")])
    push_adapter_to_hub(model, ADAPTERS, card=CARD)
    page = hub.files(ADAPTERS)["README.md"].decode()
    assert type(model.pipe).__name__ in page
    assert "{{" not in page
    monkeypatch.chdir(tmp_path)
    pipe = stock(family)
    nobody = painted(family, pipe, None)
    load, export = blocks(page)
    exec(compile(load, "README.md", "exec"), {"pipe": pipe})
    exec(compile(export, "README.md", "exec"), {"model": model, "me": me})
    theirs = painted(family, pipe, load_file("for-diffusers/people/me.safetensors"))
    ours = model("a fox", me, seed=7, variety=0.0, output_type="np").images[0]
    np.testing.assert_allclose(nobody, model("a fox", seed=7, output_type="np").images[0], atol=1e-5)
    assert np.abs(theirs - nobody).max() > 0.01
    assert np.abs(theirs - ours).mean() < 0.5 * np.abs(nobody - ours).mean()


def test_adapters_of_another_model_or_beside_fitted_ones_are_refused(
    hub: FakeHub, model, me, loaded_model, tmp_path: Path
) -> None:
    push_adapter_to_hub(model, ADAPTERS, card=CARD)
    export_to_diffusers(model, {"me": me}, tmp_path / "fitted")
    with pytest.raises(ModelError, match=f"other adapters than {ADAPTERS}"):
        export_to_diffusers(model, {"me": me}, tmp_path / "fitted", adapters=ADAPTERS)
    export_to_diffusers(model, {"me": me}, tmp_path / "unfitted", adapters=ADAPTERS)
    export_to_diffusers(model, {"you": me}, tmp_path / "unfitted", adapters=ADAPTERS)
    assert {path.stem for path in (tmp_path / "unfitted" / "people").iterdir()} == {"me", "you"}
    told = tmp_path / "unfitted" / "export.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | {"model": "0" * 64}))
    with pytest.raises(ModelError, match="unfitted holds another model's export") as found:
        export_to_diffusers(model, {"me": me}, tmp_path / "new", adapters=tmp_path / "unfitted")
    assert "published from" in str(found.value.hint)
    assert not (tmp_path / "new").exists()


def test_an_upload_is_known_before_it_is_written(
    hub: FakeHub, model_folder: Path, loaded_model, tmp_path: Path
) -> None:
    whole = model_upload(model_folder, "someone/their-model", CARD)
    adapters = adapter_upload(loaded_model, ADAPTERS, CARD)
    assert not hub.home(ADAPTERS).exists()
    assert not list(tmp_path.iterdir())
    for upload in (whole, adapters):
        upload.push(commit_message="as planned")
        sent = hub.files(upload.repo_id)
        assert {name: len(data) for name, data in sent.items()} == upload.sizes
        assert sent["README.md"].decode() == upload.card


def test_a_stable_diffusion_3_has_no_stock_adapters_but_a_card_of_its_own(hub: FakeHub, tmp_path: Path) -> None:
    from conftest import FakeMLLM

    folder = build_model_folder(tmp_path / "sd3", family="sd3")
    with pytest.raises(ModelError, match="SD3Transformer2DModel"):
        adapter_upload(load_quietly(folder, mllm=FakeMLLM()), ADAPTERS, CARD)
    assert 'from_pretrained("someone/their-model")' in model_upload(folder, "someone/their-model", CARD).card


def test_a_model_trained_on_with_people_does_not_say_that_it_knows_nobody() -> None:
    assert "no data about real people" in card_of("embedded", None).training_data
    with pytest.raises(InputError, match="licence and training_data"):
        card_of(preset_with_people("embedded"), None)
