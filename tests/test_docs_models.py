"""The Python of docs/language_models.md and docs/backbones.md runs, on tiny random models of the real classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from conftest import plain
from pages import blocks
from prefgen.adapter import network_of, save_adapter
from prefgen.recipes.backbone_adapter import PersonalBackbone
from tiny_backbones import silent_pipeline
from tiny_diffusion import random_tokens, trained_adapter
from tiny_families import save_family

WIDTH = 6


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`likes/`, `dislikes/` and `new.png`, where the pages' code runs."""
    monkeypatch.chdir(tmp_path)
    for name, colour in {"likes/red.png": "red", "dislikes/blue.png": "blue", "new.png": "crimson"}.items():
        Path(name).parent.mkdir(exist_ok=True)
        plain(colour, 64).save(name)


def test_a_language_model_is_asked() -> None:
    """A tiny model of the same family stands for the published one, and a CPU for the card."""
    folder = str(save_family("qwen3_vl", Path("mllm")))
    [block] = blocks("docs/language_models.md", "python")
    names = block.run({"Qwen/Qwen3-VL-4B-Instruct": folder, 'device="cuda"': 'device="cpu"'})
    model = names["mllm"].model
    assert model.dtype is torch.bfloat16
    [p_like] = names["mllm"].score(names["history"], [Image.open("new.png")])
    assert 0 < p_like < 1
    states = names["mllm"].encode(names["history"]).like.last
    assert states.shape == (model.config.text_config.num_hidden_layers + 1, model.config.text_config.hidden_size)


def test_a_backbone_paints_and_its_adapter_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny Stable Diffusion stands for the published one. Two samples are trained on, at 16 pixels a side."""
    painting, training = blocks("docs/backbones.md", "python")
    pipe = silent_pipeline("sd15")
    adapter = trained_adapter(network_of(pipe))
    save_adapter(adapter, Path("my-adapter"))
    names = painting.run(pipe=pipe, tokens=random_tokens(2, d_cross=adapter.d_cross))
    assert [picture.size for picture in names["pictures"]] == [(16, 16)] * 2
    given = {
        "images": [plain("red", 16), plain("blue", 16)],
        "prompts": ["a fox", ""],
        "like": torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0)),
        "dislike": torch.zeros(2, WIDTH),
    }
    names = training.run({"1024": "16", "1_000_000": "2"}, pipe=pipe, folder=Path("trained"), **given)
    trained = PersonalBackbone.load(Path("trained/model"), pipe.unet).state_dict()
    assert all(torch.equal(trained[name], value) for name, value in names["model"].state_dict().items())
    fresh = PersonalBackbone.for_network(pipe.unet, d_user=WIDTH).adapter.state_dict()
    assert any(not torch.equal(trained[f"adapter.{name}"], value) for name, value in fresh.items())
