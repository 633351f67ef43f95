"""Loading: what is amiss is said in one line; each trap of the libraries underneath stays shut."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import prefgen.mllm.loading as loading
import prefgen.mllm.reading as reading
from mllm_contract import EXACT, HISTORIES, QUESTIONS, packed_logits, told
from prefgen.core import ConfigError, ModelError
from prefgen.mllm import (
    Pack,
    PreferenceMLLM,
    chat_frame,
    pack,
    plain_logits,
    reference_states,
    told_from,
    with_lora,
)
from prefgen.mllm.taste_words import _answer, load_vlm
from tiny_families import FAMILY_NAMES, idefics2, save_family
from tiny_mllm import noise


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    """Families' folders, made when first asked for."""
    root = tmp_path_factory.mktemp("families")
    return lru_cache(lambda name: save_family(name, root / name))


@pytest.fixture
def damaged(folders, tmp_path: Path) -> Path:
    """A copy of a folder, to be damaged."""
    return Path(shutil.copytree(folders("qwen3_vl"), tmp_path / "copy"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and said so."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def refusal(name: object, **arguments) -> ModelError:
    with pytest.raises(ModelError) as caught:
        PreferenceMLLM.from_pretrained(name, **arguments)
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instuct", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("idefics2", "HuggingFaceM4/idefics2-8b"),
        ("someone/SmolVLM2-2.2B", "HuggingFaceTB/SmolVLM2-2.2B-Instruct"),
    ],
)
def test_a_mistyped_name_is_answered_by_the_nearest(offline, name: str, meant: str):
    assert refusal(name).hint == f"did you mean {meant!r}?"


def test_a_name_without_a_network_is_one_clear_line(offline):
    error = refusal("HuggingFaceM4/idefics2-8b")
    assert error.message.endswith("because HF_HUB_OFFLINE is set, got nothing downloaded")
    assert "unset HF_HUB_OFFLINE" in str(error.hint)


def test_a_folder_that_does_not_exist_is_not_looked_for_on_the_hub(tmp_path: Path):
    for name in (tmp_path / "gone", str(tmp_path / "gone"), "./gone", "models/of/mine"):
        assert "which is no folder" in refusal(name).message


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("config.json", "no config.json"),
        ("model-00002-of-00007.safetensors", "no model-00002-of-00007.safetensors"),
        ("tokenizer.json", "no tokenizer.json"),
        ("preprocessor_config.json", "no preprocessor_config.json"),
    ],
)
def test_a_half_downloaded_folder_names_what_is_missing(damaged: Path, part: str, said: str):
    (damaged / part).unlink()
    error = refusal(damaged)
    assert said in error.message
    assert "start it again" in str(error.hint)


def test_a_cut_file_and_an_unfinished_one_are_seen(damaged: Path):
    shard = damaged / "model-00003-of-00007.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert "no whole model-00003-of-00007.safetensors" in refusal(damaged).message
    shard.write_bytes(whole)
    (damaged / "model.safetensors.index.json").write_text("{")
    assert "readable model.safetensors.index.json" in refusal(damaged).message
    shutil.copy(next(damaged.glob("model-00001*")), damaged / "x.incomplete")
    (damaged / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    assert "the unfinished x.incomplete" in refusal(damaged).message


def test_weights_that_transformers_would_fill_with_chance_are_refused(damaged: Path):
    shard = damaged / "model-00003-of-00007.safetensors"
    weights = load_file(shard)
    lost = sorted(weights)[0]
    save_file({k: v for k, v in weights.items() if k != lost}, shard, metadata={"format": "pt"})
    index = json.loads((damaged / "model.safetensors.index.json").read_text())
    del index["weight_map"][lost]
    (damaged / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "got none for 1: " in refusal(damaged).message


@pytest.mark.parametrize(
    ("config", "said", "hint"),
    [
        (transformers.Qwen2VLConfig, "another family (qwen2_vl)", "'qwen2_5_vl'"),
        (transformers.LlamaConfig, "a text-only model (llama)", "idefics2-8b"),
        (transformers.CLIPConfig, "(clip)", "idefics2-8b"),
    ],
)
def test_other_models_are_refused_by_name(damaged: Path, config, said: str, hint: str):
    config().save_pretrained(damaged)
    error = refusal(damaged)
    assert said in error.message
    assert hint in str(error.hint)


def test_the_processor_of_another_model_is_refused(damaged: Path):
    config = json.loads((damaged / "config.json").read_text())
    config["image_token_id"] -= 1
    (damaged / "config.json").write_text(json.dumps(config))
    assert "another model's" in refusal(damaged).message


def test_a_template_without_order_needs_a_placeholder(folders):
    processor = PreferenceMLLM.from_pretrained(folders("llava_onevision")).processor
    assert chat_frame(processor, "<image>").image == "<image>"
    with pytest.raises(ModelError, match="moves images away from their places"):
        chat_frame(processor)


@pytest.mark.parametrize(
    ("module", "arguments", "package"),
    [
        ("bitsandbytes", {"four_bit": True}, "'prefgen[quant]'"),
        ("flash_attn", {"attention": "flash_attention_2"}, "flash-attn"),
    ],
)
def test_a_missing_extra_comes_with_its_command(
    folders, monkeypatch: pytest.MonkeyPatch, module: str, arguments: dict, package: str
):
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name == module else find_spec(name))
    error = refusal(folders("qwen3_vl"), **arguments)
    assert error.message.startswith(f"expected {module} for ")
    assert error.hint == f"pip install {package}"


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="bitsandbytes is not installed: pip install 'prefgen[quant]'")
@pytest.mark.slow
def test_four_bit_weights_take_lora_and_answer(folders):
    mllm = PreferenceMLLM.from_pretrained(folders("idefics3"), four_bit=True, gradient_checkpointing=True)
    linears = {name: type(m).__name__ for name, m in mllm.model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert {name for name, kind in linears.items() if kind != "Linear4bit"} == {"lm_head"}
    before = mllm.score(HISTORIES[0], [noise(1)])
    wrapped = with_lora(mllm.model, rank=2)
    assert mllm.score(HISTORIES[0], [noise(1)]) == pytest.approx(before, abs=1e-3)
    assert all("lora_" in name for name, weight in wrapped.named_parameters() if weight.requires_grad)


def test_the_ordinary_processor_is_tried_first(folders, monkeypatch: pytest.MonkeyPatch):
    ready = PreferenceMLLM.from_pretrained(folders("qwen3_vl")).processor
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lambda *_, **__: ready)
    assert PreferenceMLLM.from_pretrained(folders("qwen3_vl")).processor is ready
    monkeypatch.undo()
    if find_spec("torchvision") is None:  # else the whole processor is had
        assert ready.video_processor is None
        assert type(ready).__name__ == "Qwen3VLProcessor"
        assert type(ready) is not transformers.Qwen3VLProcessor


def test_no_keyword_that_transformers_swallows_and_no_cache_that_it_breaks():
    for path in Path(reading.__file__).parent.glob("*.py"):
        text = path.read_text()
        assert "image_hidden_states=" not in text, path
        assert ".crop(" not in text, path


def test_positions_over_a_grid_are_the_familys_own(folders, monkeypatch: pytest.MonkeyPatch):
    mllm, one = PreferenceMLLM.from_pretrained(folders("qwen2_5_vl")), HISTORIES[0]
    batch, _ = mllm.batch([Pack(history=told(one), branches=())])
    grids = torch.tensor([seen.grid for seen in mllm.vision.seen([item.image for item in one.items])])
    types = (batch.input_ids == mllm.image_token).int()
    own, _ = mllm.model.model.get_rope_index(batch.input_ids, mm_token_type_ids=types, image_grid_thw=grids)
    assert torch.equal(batch.position_ids, own)
    plain = plain_logits(mllm, [one], QUESTIONS[:1])
    monkeypatch.setattr(
        "prefgen.mllm.port.grid_positions", lambda _, b, __: b.position_ids.expand(3, *b.position_ids.shape)
    )
    assert (packed_logits(mllm, one, QUESTIONS[:1]) - plain).abs().max() > 1e-3


def test_a_sliding_window_reaches_the_packed_mask(folders, monkeypatch: pytest.MonkeyPatch):
    mllm = PreferenceMLLM.from_pretrained(folders("idefics2"))
    plain = plain_logits(mllm, [HISTORIES[0]], QUESTIONS[:1])
    torch.testing.assert_close(packed_logits(mllm, HISTORIES[0], QUESTIONS[:1]), plain, **EXACT)
    monkeypatch.setattr(reading, "sliding_window", lambda _: None)
    assert (packed_logits(mllm, HISTORIES[0], QUESTIONS[:1]) - plain).abs().max() > 1e-3


def test_a_tokenizer_with_a_space_before_every_text_is_read_whole(folders):
    mllm = PreferenceMLLM.from_pretrained(folders("idefics2"))
    packs = [Pack(history=told(HISTORIES[0]), branches=())]
    assert not mllm.frame.in_pieces
    questions = [replace(packs[0], branches=mllm._portions(QUESTIONS)[0])]
    whole = pack(mllm.processor, mllm.frame, questions)
    cut = pack(mllm.processor, replace(mllm.frame, in_pieces=True), questions)
    assert whole.input_ids.tolist() != cut.input_ids.tolist()
    text = mllm.processor(text=[mllm.frame.prompt([*told(HISTORIES[0]), *QUESTIONS[1]])], add_special_tokens=False)
    kept = (whole.segments[0] == 0) | (whole.segments[0] == 2)
    assert whole.input_ids[0, kept].tolist() == text["input_ids"][0]


@pytest.mark.parametrize("change", ["flash", "mixed"])
def test_what_cannot_be_packed_is_read_plainly_and_says_so(change: str, caplog: pytest.LogCaptureFixture):
    torch.manual_seed(0)
    model, processor = idefics2(sliding_window=None)
    text = model.config.get_text_config()
    if change == "flash":
        text._attn_implementation_internal = "flash_attention_2"
    else:
        text.sliding_window, text.layer_types = 30, ["sliding_attention", "full_attention", "sliding_attention"]
    with caplog.at_level(logging.WARNING, logger="prefgen"):
        mllm = PreferenceMLLM(model.float(), processor)
    assert mllm.reading == "plain"
    assert mllm.reading_reason in caplog.text
    with pytest.raises(ConfigError, match="reading"):
        PreferenceMLLM(model, processor, reading="packed")


@pytest.mark.parametrize("name", ["idefics2", "idefics3", "smolvlm"])
def test_split_pictures_are_exact_too(folders, name: str):
    mllm = PreferenceMLLM.from_pretrained(folders(name), split_images=True, image_tokens=20)
    (tokens,) = mllm.vision.tokens([noise(5, 200)])
    assert len(tokens) == 20
    plain = plain_logits(mllm, HISTORIES, QUESTIONS)
    for row, one in enumerate(HISTORIES):
        found = packed_logits(mllm, one, [QUESTIONS[1], QUESTIONS[row]])[1]
        torch.testing.assert_close(found, plain[row], atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "budget", "least"),
    [
        ("idefics2", {"image_tokens": 3}, "image_tokens from 4 up"),
        ("idefics2", {"image_tokens": 19, "split_images": True}, "image_tokens from 20 up"),
        ("idefics3", {"max_side_px": 55}, "max_side_px from 56 up"),
        ("qwen2_5_vl", {"max_side_px": 27}, "max_side_px from 28 up"),
        ("qwen3_vl", {"split_images": True}, "split_images=False"),
        ("llava_onevision", {"image_tokens": 16}, "image_tokens from 17 up"),
    ],
)
def test_a_budget_that_a_family_cannot_keep_is_refused(folders, name: str, budget: dict, least: str):
    with pytest.raises(ConfigError, match=least):
        PreferenceMLLM.from_pretrained(folders(name), **budget)


def test_the_side_of_a_picture_is_bounded(folders):
    small = PreferenceMLLM.from_pretrained(folders("qwen3_vl"), max_side_px=64)
    assert len(small.vision.tokens([noise(1, 300)])[0]) == 4
    assert len(PreferenceMLLM.from_pretrained(folders("qwen3_vl")).vision.tokens([noise(1, 300)])[0]) == 16
    seen = PreferenceMLLM.from_pretrained(folders("idefics2"), max_side_px=40).processor.image_processor
    assert seen([[noise(1, 300)]], return_tensors="pt")["pixel_values"].shape[-2:] == (40, 40)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_any_family_can_be_asked_for_words_of_taste(folders, name: str) -> None:
    """Without torchvision AutoProcessor alone reads one of them."""
    model, processor = load_vlm(folders(name), device=torch.device("cpu"), dtype=torch.float32)
    said = _answer(model, processor, [noise(1, 90), "Name three words."])
    assert isinstance(said, str)


def test_pictures_seen_before_stand_for_themselves(folders):
    mllm, one = PreferenceMLLM.from_pretrained(folders("qwen3_vl")), HISTORIES[0]
    seen = [replace(item, picture=mllm.vision.seen([item.picture])[0]) for item in told_from(one)]
    again = mllm.encode_told([seen])
    torch.testing.assert_close(again.like.last[0], mllm.encode(one).like.last, **EXACT)
    bare = [replace(item, picture=item.picture.tokens) for item in seen]
    with pytest.raises(ModelError, match="has no layout"):
        mllm.encode_told([bare])


def test_states_for_reference_tokens_end_with_their_pictures(folders):
    mllm = PreferenceMLLM.from_pretrained(folders("idefics3"))
    two = reference_states(mllm, [[noise(1), noise(2)], [noise(1)]])
    assert two.ends[1].tolist() == [int(two.ends[0, 0]), 0]
    n = int(two.ends[1, 0])
    torch.testing.assert_close(two.states[0, :n], two.states[1, :n], **EXACT)
