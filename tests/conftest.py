"""A tiny random model folder, a preference model whose answers can be foreseen, and pictures of plain colours."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from prefgen.core import History

os.environ["HF_HUB_OFFLINE"] = "1"

N_STATES, D_LM, D_CLIP, D_TEXT = 3, 12, 16, 32
COLOUR_WORDS = ("red", "green", "blue")


@dataclass(frozen=True)
class FakeStates:
    """Hidden states of one side, [n_states, d_lm]."""

    last: torch.Tensor
    mean: torch.Tensor


def mean_colour(image: Image.Image) -> np.ndarray:
    """RGB in [0, 1]."""
    return np.asarray(image.convert("RGB"), dtype=np.float64).reshape(-1, 3).mean(0) / 255


@dataclass(frozen=True)
class FakeHistoryStates:
    """Hidden states of both sides."""

    like: FakeStates
    dislike: FakeStates


@dataclass
class FakeMLLM:
    """Likes the mean colour of what was liked; `log` keeps what it was asked."""

    log: list[str] = field(default_factory=list)

    def encode(
        self, history: History, notes_like: Sequence[str] = (), notes_dislike: Sequence[str] = ()
    ) -> FakeHistoryStates:
        self.log.append(f"encode {','.join(notes_like)}|{','.join(notes_dislike)}")
        matrix = torch.randn(3, N_STATES * D_LM, generator=torch.Generator().manual_seed(0))
        sides = {}
        for side, items in (("like", history.liked), ("dislike", history.disliked)):
            colours = [mean_colour(item.image) * item.weight for item in items] or [np.zeros(3)]
            states = torch.tensor(np.mean(colours, 0), dtype=torch.float32) @ matrix
            sides[side] = FakeStates(last=states.view(N_STATES, D_LM), mean=-states.view(N_STATES, D_LM))
        return FakeHistoryStates(**sides)

    def score(
        self,
        history: History,
        images: Sequence[Image.Image],
        notes_like: Sequence[str] = (),
        notes_dislike: Sequence[str] = (),
    ) -> list[float]:
        self.log.append(f"score {','.join(notes_like)}|{','.join(notes_dislike)}")
        wanted = np.mean([mean_colour(item.image) for item in history.liked] or [np.full(3, 0.5)], axis=0)
        return [float(1 - np.abs(mean_colour(image) - wanted).mean()) for image in images]

    def explain(self, history: History) -> dict[str, list[tuple[str, float, float]]]:
        self.log.append("explain")
        return {
            f"{side}s": [(COLOUR_WORDS[int(mean_colour(item.image).argmax())], item.weight, 0.75) for item in items]
            for side, items in (("like", history.liked), ("dislike", history.disliked))
        }


def plain(colour: str, side_px: int = 24) -> Image.Image:
    """A picture of one colour."""
    return Image.new("RGB", (side_px, side_px), colour)


FAMILIES = ("embedded", "sdxl", "sd3", "flux")
"""Generators that a model may have: the package's own kind, and one of each published family."""


def build_model_folder(folder: Path, seed: int = 0, family: str = "embedded") -> Path:
    """A whole model of random weights; its `mllm/` is a stand-in that nothing can load."""
    from safetensors.torch import save_file
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

    from prefgen.adapter import network_of, save_adapter
    from prefgen.embedding import UserEncoder, UserEncoderConfig
    from prefgen.pipeline import Defaults, ModelCard, describe_known, picture_features, write_card
    from tiny_backbones import silent_pipeline
    from tiny_diffusion import tiny_pipeline, trained_adapter

    pipe = tiny_pipeline() if family == "embedded" else silent_pipeline(family)
    adapter = trained_adapter(network_of(pipe))
    pipe.save_pretrained(folder)
    torch.manual_seed(seed)
    vision = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            projection_dim=D_CLIP,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        )
    ).eval()
    extractor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    vision.save_pretrained(folder / "image_encoder")
    extractor.save_pretrained(folder / "feature_extractor")
    config = UserEncoderConfig(
        d_lm=D_LM,
        d_clip=D_CLIP,
        d_text=D_TEXT,
        d_cross=adapter.d_cross,
        n_tokens=2,
        sem_layers=(1, 2),
        core_layers=(0, 1),
    )
    UserEncoder(config).save(folder / "user_encoder")
    save_adapter(adapter, folder / "adapter")
    (folder / "mllm").mkdir()
    (folder / "mllm" / "config.json").write_text("{}")
    save_file({"weight": torch.zeros(1)}, folder / "mllm" / "model.safetensors")
    reds = [Image.new("RGB", (24, 24), (160 + i, i, i)) for i in range(0, 80, 4)]
    card = ModelCard(
        preset="test",
        default=Defaults(num_inference_steps=2, guidance_scale=2.0, true_cfg_scale=2.0 if family == "flux" else 1.0),
        words=("fox", "by a lake", "gold", "pop art"),
        subjects=("fox",),
        known_features=describe_known(picture_features(reds, vision, extractor)),
    )
    write_card(card, folder)
    return folder


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tiny model folder of a family; tests that change it copy it first."""
    return cache(lambda family: build_model_folder(tmp_path_factory.mktemp("model"), family=family))


@pytest.fixture(scope="session")
def model_folder(model_folders: Callable[[str], Path]) -> Path:
    """The one of the package's own kind."""
    return model_folders("embedded")


@pytest.fixture
def mllm() -> FakeMLLM:
    """A preference model that goes by colour."""
    return FakeMLLM()


@pytest.fixture(scope="session")
def loaded_models(model_folders: Callable[[str], Path]) -> Callable[[str], Any]:
    """The tiny model of a family, loaded once."""
    return cache(lambda family: load_quietly(model_folders(family), mllm=FakeMLLM()))


def load_quietly(folder: Path, **arguments: Any) -> Any:
    """A model without progress bars, whose pictures are 16 pixels a side whatever the family."""
    from prefgen import PrefGen

    model = PrefGen.from_pretrained(folder, device="cpu", **arguments)
    model.pipe.set_progress_bar_config(disable=True)
    if hasattr(model.pipe, "transformer"):
        model.pipe.default_sample_size = 8  # FLUX's is written into its pipeline: 128 latents a side
    return model


@pytest.fixture(scope="session")
def loaded_model(loaded_models: Callable[[str], Any]):
    """The tiny model of the package's own kind; use `model`."""
    return loaded_models("embedded")


@pytest.fixture
def model(loaded_model, mllm: FakeMLLM):
    """The tiny model with a fresh preference model and nothing cached."""
    from prefgen import PrefGen

    parts = ("pipe", "adapter", "user_encoder", "image_encoder", "feature_extractor", "card", "sha256")
    return PrefGen(mllm=mllm, **{part: getattr(loaded_model, part) for part in parts})


@pytest.fixture
def me(model):
    """Somebody who likes reds and dislikes a blue."""
    return model.profile(
        liked=[plain("red"), plain("darkred")], disliked=[plain("blue")], prompts=["a fox", None, "by a lake"]
    )


@pytest.fixture
def cli(model_folder: Path, mllm: FakeMLLM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command in this process: `cli("explain") -> (status, stdout, stderr)`; `{model}` is the tiny model."""
    from prefgen.cli.main import status_of
    from prefgen.pipeline import model as model_module

    monkeypatch.setattr(model_module, "load_mllm", lambda *_: mllm)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = status_of([str(argument).format(model=model_folder) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with `likes/` (reds), `dislikes/` (a blue) and `profile-less` pictures to rank."""
    for name, colours in {"likes": ["red", "darkred"], "dislikes": ["blue"], "new": ["navy", "crimson"]}.items():
        (tmp_path / name).mkdir()
        for colour in colours:
            plain(colour).save(tmp_path / name / f"{colour}.png")
    rows = [{"image": "likes/red.png", "side": "like"}, {"image": "dislikes/blue.png", "side": "dislike"}]
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that cost nothing to count, twice as much without checkpointing; parameters are counted as ever."""
    from prefgen.recipes import full_plan
    from prefgen.recipes.counting import StepCount

    def step(*_: Any, checkpointing: bool, batch: int, **__: Any) -> StepCount:
        flops, held = (4 * 10**12, 2 * 2**30) if checkpointing else (3 * 10**12, 12 * 2**30)
        return StepCount(flops=flops * batch, held=held * batch)

    monkeypatch.setattr(full_plan, "adapter_step", step)
    monkeypatch.setattr(full_plan, "lora_step", step)
