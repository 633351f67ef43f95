"""Scorers on tiny random models of the same classes: formulas, the layouts of published weights, and clear errors."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

from prefgen.benchmark import scorers
from prefgen.benchmark.scorers import Aesthetic, ClipScorer, ImageReward, hpsv2, pickscore
from prefgen.benchmark.scorers.image_reward import MEAN, SPREAD, new_towers, parts_of
from prefgen.benchmark.scorers.open_clip import _INSIDE, _OUTSIDE, _TRANSPOSED, TOWERS, from_open_clip
from prefgen.benchmark.scorers.reward_head import RewardHead
from prefgen.core import ModelError
from tiny_diffusion import tiny_tokenizer

PROMPTS = ["a fox", "a red house by the sea"]
TINY = {"intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(3)
    return [Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in PROMPTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP, saved as the hub keeps one."""
    where = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    text = {
        "vocab_size": 514,
        "hidden_size": 16,
        "bos_token_id": 512,
        "eos_token_id": 513,
        "hidden_act": "gelu",
        **TINY,
    }
    vision = {"hidden_size": 24, "image_size": 32, "patch_size": 8, "hidden_act": "gelu", **TINY}
    config: Any = CLIPConfig(
        text_config={**text, "projection_dim": 12}, vision_config={**vision, "projection_dim": 12}, projection_dim=12
    )
    model = CLIPModel(config).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    model.save_pretrained(where)
    CLIPProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}), tiny_tokenizer()
    ).save_pretrained(where)
    return where


def test_clip_scores_are_the_models_own_logits(folder: Path) -> None:
    scorer = ClipScorer.from_pretrained(str(folder))
    batch = scorer.processor(text=PROMPTS, images=pictures(), return_tensors="pt", padding="max_length", max_length=77)
    with torch.no_grad():
        logits = scorer.model(**batch).logits_per_image.diagonal().numpy()
    np.testing.assert_allclose(scorer.scaled(PROMPTS, pictures()), logits, rtol=1e-4)
    np.testing.assert_allclose(pickscore(str(folder), str(folder)).scaled(PROMPTS, pictures()), logits, rtol=1e-4)
    assert np.abs(scorer.clip_t(PROMPTS, pictures())).max() <= 1
    own = scorer.clip_i(pictures(), pictures()[:1])
    assert own[0] == pytest.approx(1.0, abs=1e-5)
    assert own[1] < 0.9999
    both = scorer.clip_i(pictures(), pictures())
    assert both[0] == pytest.approx((1 + own[1]) / 2, abs=1e-5)


def as_open_clip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A `CLIPModel`'s weights as open_clip would publish them."""
    out = {theirs: state[ours] for theirs, ours in _OUTSIDE.items()}
    out |= {theirs: state[ours].T.contiguous() for theirs, ours in _TRANSPOSED.items()}
    for tower, ours in TOWERS:
        for layer in range(2):
            source, target = f"{ours}.encoder.layers.{layer}", f"{tower}.resblocks.{layer}"
            for part in ("weight", "bias"):
                rows = [state[f"{source}.self_attn.{n}_proj.{part}"] for n in "qkv"]
                out[f"{target}.attn.in_proj_{part}"] = torch.cat(rows)
                for theirs, here in _INSIDE:
                    out[f"{target}.{theirs}.{part}"] = state[f"{source}.{here}.{part}"]
    return {k: v.contiguous() for k, v in out.items()}


def test_weights_in_the_other_layout_give_the_same_scores(folder: Path, tmp_path: Path) -> None:
    scorer = ClipScorer.from_pretrained(str(folder))
    state = {k: v for k, v in scorer.model.state_dict().items() if not k.endswith("position_ids")}
    published = as_open_clip(state)
    again = from_open_clip(published)
    assert set(again) == set(state)
    assert all(torch.equal(again[k], v) for k, v in state.items())
    save_file(published, tmp_path / "hps.safetensors")
    got = hpsv2(tmp_path / "hps.safetensors", base=str(folder)).scaled(PROMPTS, pictures())
    np.testing.assert_allclose(got, scorer.scaled(PROMPTS, pictures()), rtol=1e-5)
    published.pop("visual.proj")
    save_file(published, tmp_path / "less.safetensors")
    with pytest.raises(ModelError, match="expected the weights of HPSv2"):
        hpsv2(tmp_path / "less.safetensors", base=str(folder))


def test_the_aesthetic_score_is_a_linear_map_of_the_unit_embedding(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    head = RewardHead(12).eval()
    assert sorted({k.split(".")[1] for k in head.state_dict()}) == ["0", "2", "4", "6", "7"]
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    scorer = Aesthetic.from_pretrained(tmp_path / "head.safetensors", clip=str(folder))
    with torch.no_grad():
        x = scorer.clip.images(pictures())
        for i in (0, 2, 4, 6, 7):
            x = x @ head.state_dict()[f"layers.{i}.weight"].T + head.state_dict()[f"layers.{i}.bias"]
    np.testing.assert_allclose(scorer.score(pictures()), x[:, 0].numpy(), rtol=1e-4)


class Words:
    """A tokenizer of letters, as long as asked for."""

    def __call__(self, texts: list[str], *, max_length: int, **_: object):
        from transformers import BatchEncoding

        ids = torch.zeros(len(texts), max_length, dtype=torch.long)
        for row, text in zip(ids, texts):
            row[: len(text)] = torch.tensor([1 + ord(letter) % 90 for letter in text[:max_length]])
        return BatchEncoding({"input_ids": ids, "attention_mask": (ids > 0).long()})


def tiny_reward() -> ImageReward:
    torch.manual_seed(2)
    vision, text = new_towers(
        {"hidden_size": 24, "image_size": 32, "patch_size": 8, **TINY}, {"vocab_size": 100, "hidden_size": 16, **TINY}
    )
    for p in (*vision.parameters(), *text.parameters()):
        torch.nn.init.normal_(p, std=0.2)
    size: Any = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    return ImageReward(vision, text, RewardHead(16), Words(), CLIPImageProcessorPil(**size))


def test_image_reward_hears_picture_and_prompt_and_is_standardised() -> None:
    scorer = tiny_reward()
    got = scorer.score(PROMPTS, pictures())
    np.testing.assert_allclose(scorer.score(PROMPTS[1:], pictures()[1:]), got[1:], rtol=1e-3, atol=1e-5)
    assert abs(scorer.score(PROMPTS[::-1], pictures())[0] - got[0]) > 1e-6
    assert abs(scorer.score(PROMPTS, pictures()[::-1])[0] - got[0]) > 1e-6
    for p in scorer.head.parameters():
        torch.nn.init.zeros_(p)
    torch.nn.init.constant_(scorer.head.layers[-1].bias, MEAN + SPREAD)  # type: ignore[union-attr]
    np.testing.assert_allclose(scorer.score(PROMPTS, pictures()), 1.0, rtol=1e-5)


def test_published_names_of_image_reward_become_those_of_its_towers() -> None:
    scorer = tiny_reward()
    theirs = {
        "embeddings.class_embedding": "cls_token",
        "embeddings.position_embedding": "pos_embed",
        "embeddings.patch_embedding": "patch_embed.proj",
        "encoder.layers.": "blocks.",
        ".layer_norm1": ".norm1",
        ".layer_norm2": ".norm2",
        ".self_attn.qkv": ".attn.qkv",
        ".self_attn.projection": ".attn.proj",
        "post_layernorm.": "norm.",
    }
    published = {"blip.text_encoder.embeddings.position_ids": torch.zeros(1)}
    for key, value in scorer.vision.state_dict().items():
        for ours, name in theirs.items():
            key = key.replace(ours, name)
        published[f"blip.visual_encoder.{key}"] = value
    published |= {f"blip.text_encoder.{k}": v for k, v in scorer.text.state_dict().items()}
    published |= {f"mlp.{k}": v for k, v in scorer.head.state_dict().items()}
    parts = parts_of(published)
    scorer.vision.load_state_dict(parts["vision"])
    scorer.head.load_state_dict(parts["head"])
    assert not [k for k in scorer.text.load_state_dict(parts["text"], strict=False).missing_keys if "ids" not in k]
    assert {k: v.shape for k, v in parts["vision"].items()} == {
        k: v.shape for k, v in scorer.vision.state_dict().items()
    }


def test_missing_weights_and_pickles_are_told_of_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected the weights of a CLIP in nobody/nothing") as error:
        ClipScorer.from_pretrained("nobody/nothing")
    assert "\n" not in error.value.message
    assert error.value.hint
    (tmp_path / "ImageReward.pt").write_bytes(b"")
    for load in (ImageReward.from_pretrained, hpsv2, Aesthetic.from_pretrained):
        with pytest.raises(ModelError, match="expected one safetensors file") as error:
            load(tmp_path / "ImageReward.pt")
        assert "convert" in str(error.value.hint)


def test_transformers_is_loaded_by_no_scorer_before_one_is_made() -> None:
    source = Path(scorers.__file__).parent
    for path in source.glob("*.py"):
        first = {getattr(node, "module", None) for node in ast.parse(path.read_text()).body}
        assert not [m for m in first if m and m.startswith("transformers")], path
    for path in source.parent.rglob("*.py"):
        assert path.parent == source or "benchmark.scorers" not in path.read_text(), path
