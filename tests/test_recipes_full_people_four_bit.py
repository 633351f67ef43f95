"""The whole chain with the frozen weights in four bits (QLoRA, arXiv 2305.14314), on tiny models."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prefgen import PrefGen
from prefgen.recipes.checkpoint import load_tensors
from prefgen.recipes.full_people import preferences
from prefgen.recipes.full_people.run import train_full_on_people
from raw_choices import bytes_under
from test_recipes_four_bit import in_four_bits
from test_recipes_full_people import paints
from tiny_own_data import people_folder
from tiny_published import published_preset


def rounded(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the weights in four bits, by name of their layer."""
    found: dict[str, Any] = {name: layer.weight for name, layer in in_four_bits(model).items()}
    assert all((w.dtype, w.quant_state.quant_type) == (torch.uint8, "nf4") for w in found.values())
    return {name: weight.data.clone() for name, weight in found.items()}


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="bitsandbytes is not installed: pip install 'prefgen[quant]'")
def test_updates_are_learned_on_four_bits_resume_and_serve_in_full_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[nn.Module, dict[str, Tensor]]] = []

    def watched(model: Any, **settings: Any) -> Any:
        made = with_lora(model, **settings)
        trained.append((made, rounded(made)))
        return made

    with_lora = preferences.with_lora
    monkeypatch.setattr(preferences, "with_lora", watched)
    people_folder(tmp_path / "people", 14, splits=("train", "train", "validation", "test"))
    few = {"preference_samples": 45, "choose_every": 15, "adapter_samples": 8, "evaluated_people": 2}
    preset = published_preset(tmp_path, "sd15-qwen3-vl", load_4bit=True, **few)
    whole, broken, work = tmp_path / "whole", tmp_path / "broken", tmp_path / "work"
    assert train_full_on_people(tmp_path / "people", preset, work=tmp_path / "work-whole", out=whole)
    moved: dict[int, float] = {}
    for _ in range(60):
        if train_full_on_people(tmp_path / "people", preset, work=work, out=broken, max_minutes=0):
            break
        if (checkpoint := work / "lora.checkpoint.safetensors").exists():
            kept = load_tensors(checkpoint)
            moved[int(kept["step"])] = sum(
                float(v.abs().sum()) for k, v in kept.items() if "model." in k and "lora_B" in k
            )
    assert {1, 2} <= set(moved)
    assert 0 < moved[1] != moved[2]
    assert len(trained) > 3
    for model, before in trained:
        layers = set(before)
        assert any("lora" not in name and ".layers." in name for name in layers)
        assert {name: torch.equal(weight, before[name]) for name, weight in rounded(model).items()} == dict.fromkeys(
            layers, True
        )
        assert all("lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)
    theirs, ours = bytes_under(whole), bytes_under(broken)
    assert [part for part in theirs if theirs[part] != ours[part]] == []
    served: Any = PrefGen.from_pretrained(broken, device="cpu")
    assert not in_four_bits(served.mllm.model)
    paints(served, "sd15")
