"""Full presets say what they take before any work: published counts, sums that add up, and honest refusals."""

from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pages import commands, words_of
from prefgen.core import ConfigError, ModelError
from prefgen.mllm import language_model
from prefgen.mllm.lora import LANGUAGE_MODEL
from prefgen.pipeline.stored import MAX_STORED_PX
from prefgen.recipes import full_plan
from prefgen.recipes.counting import counted
from prefgen.recipes.full_plan import GIB, check_fits, plan_of
from prefgen.recipes.full_presets import BACKBONES, FULL_PRESETS, MLLMS, published
from prefgen.recipes.full_run import train_full
from prefgen.recipes.full_steps import adapter_step, latent_shape, lora_step, meta_personal, see, text_shapes
from prefgen.recipes.meta_models import META, meta_mllm, meta_network, meta_part, n_parameters
from prefgen.recipes.sharding import layers_of
from tiny_diffusion import tiny_sdxl_unet

PUBLISHED = {
    "sd15": 859_520_964,
    "sdxl": 2_567_463_684,
    "flux": 11_901_408_320,
    "idefics2": 8_402_768_112,
    "smolvlm": 2_246_784_880,
    "qwen2.5-vl": 8_292_166_656,
    "llava-onevision": 8_030_348_832,
}
"""Parameters as the weight files of the models have them."""
ROUNDED = {"sd3": (2.24e9, 0.02), "idefics3": (8.46e9, 1e-3), "qwen3-vl": (4.44e9, 1e-3)}
"""Parameters as the models' pages round them, and how far from that a count may be."""


@pytest.mark.parametrize("name", [*BACKBONES, *MLLMS])
def test_models_from_the_records_have_the_published_number_of_parameters(name: str) -> None:
    model = meta_network(name) if name in BACKBONES else meta_mllm(name)
    assert {parameter.device for parameter in model.parameters()} == {META}
    if name in PUBLISHED:
        assert n_parameters(model) == PUBLISHED[name]
    else:
        number, near = ROUNDED[name]
        assert n_parameters(model) == pytest.approx(number, rel=near)


def test_autoencoders_and_text_encoders_have_the_published_number_of_parameters() -> None:
    known = {"sdxl": 83_653_863, "flux": 83_819_683}
    for name, count in known.items():
        assert n_parameters(meta_part(published(name)["vae"])) == count
    clip, big = (n_parameters(meta_part(part)) for part in published("sdxl")["text_encoders"])
    assert (clip, big) == (123_060_480, 694_659_840)
    assert n_parameters(meta_part(published("flux")["text_encoders"][1])) == 4_762_310_656


def mllm_width(name: str) -> int:
    return {"smolvlm": 2048, "idefics2": 4096}[name]


@pytest.mark.parametrize("name", ["sd15-smolvlm", "sdxl-idefics2"])
def test_printed_counts_are_those_of_an_independent_count(name: str, cheap: None) -> None:
    """Adapter: two matrices of every cross-attention's own widths a group; LoRA: r·(in + out) of every layer named."""
    preset = FULL_PRESETS[name]
    lora, adapter = plan_of(preset).stages
    network = meta_network(preset.backbone)
    attentions = [module for name, module in network.named_modules() if name.endswith("attn2")]
    assert len(attentions) == {"sd15": 16, "sdxl": 70}[preset.backbone]
    expected = sum(2 * 2 * module.to_k.weight.numel() for module in attentions)
    assert adapter.trainable["adapter"] == expected
    assert adapter.trainable["adapter"] == {"sd15": 38_338_560, "sdxl": 681_574_400}[preset.backbone]
    d_cross = network.config.cross_attention_dim
    d_text, d_lm, d_clip = (768 if d_cross == 768 else 1280), mllm_width(preset.mllm), 768
    d, out = 3 * d_text, 8 * d_cross
    projector = d * d + d + d * out + out + 2 * d_cross
    mixes = 3 * (4 + 2 * d_lm)
    sem = (d_lm + 1) * 2 * d_text + (2 * d_text + 1) * d_text
    core = (2 * d_lm + 1) * d_text
    img = 2 * d_clip + (d_clip + 1) * 4 + (d_clip + 1) * d_text
    assert adapter.trainable["user encoder"] == projector + mixes + sem + core + img
    assert adapter.frozen == {"generator": sum(p.numel() for p in network.parameters())}
    mllm = meta_mllm(preset.mllm)
    linears = [m for n, m in mllm.named_modules() if isinstance(m, nn.Linear) and re.fullmatch(LANGUAGE_MODEL, n)]
    assert len(linears) == 7 * mllm.config.text_config.num_hidden_layers
    assert lora.trainable["LoRA"] == sum(8 * (m.in_features + m.out_features) for m in linears)
    assert lora.frozen == {"language model": sum(p.numel() for p in mllm.parameters())}


def test_memory_adds_up(cheap: None) -> None:
    plan = plan_of(FULL_PRESETS["sd15-smolvlm"])
    stage = plan.stages[1]
    n = sum(stage.trainable.values())
    assert stage.memory["gradients, float32"] == stage.memory["trained weights, float32"] == 4 * n
    assert stage.memory["optimiser, float32"] == 8 * n
    assert stage.memory["frozen weights, bf16"] == 2 * PUBLISHED["sd15"]
    assert stage.memory["activations (estimate)"] == 2 * GIB * stage.batch - 4 * n
    assert stage.vram == sum(stage.memory.values())
    assert stage.flops_per_step == 4 * 10**12 * stage.batch
    wide = plan_of(FULL_PRESETS["sd15-smolvlm"].with_overrides(dtype="float32")).stages[1]
    assert wide.memory["frozen weights, float32"] == 4 * PUBLISHED["sd15"]
    assert wide.memory["activations (estimate)"] == 2 * stage.memory["activations (estimate)"]
    four = plan_of(FULL_PRESETS["sd15-smolvlm"].with_overrides(load_4bit=True)).stages[1].memory
    assert four["frozen weights, 4 bit"] + four["frozen weights, bf16"] < stage.memory["frozen weights, bf16"]
    assert plan.disk["latents"] == 1_000_000 * 4 * 64 * 64 * 2
    assert plan.disk["text embeddings"] == 1_000_000 * 77 * 768 * 2
    assert plan.disk["picture tokens"] == 1_000_000 * 81 * 2048 * 2
    assert plan.disk["picture embeddings"] == 1_000_000 * 768 * 2
    assert plan.disk["hidden states"] == 50_000 * 3 * 2 * 2 * 8 * 2048 * 2


def test_shapes_are_what_the_networks_take() -> None:
    assert latent_shape("sdxl") == (4, 128, 128)
    assert text_shapes("sdxl") == {"text": (77, 2048), "pooled": (1280,), "time_ids": (6,)}
    assert text_shapes("sd15") == {"text": (77, 768)}
    assert text_shapes("sd3") == {"text": (333, 4096), "pooled": (2048,)}
    assert text_shapes("flux") == {"text": (512, 4096), "pooled": (768,)}


def test_what_does_not_fit_is_refused_and_the_flags_that_would_do_are_named(cheap: None) -> None:
    greedy = FULL_PRESETS["sd15-smolvlm"].with_overrides(gradient_checkpointing=False, adapter_batch=2, mllm_batch=2)
    with pytest.raises(ConfigError) as refused:
        check_fits(greedy, 24)
    assert "in its stage" in refused.value.message
    assert refused.value.hint is not None
    assert "--gradient-checkpointing" in refused.value.hint
    assert "--batch 1" not in refused.value.hint
    with pytest.raises(ConfigError, match="--gradient-checkpointing --batch 1"):
        check_fits(greedy, 8.5)
    with pytest.raises(ConfigError, match="is the least"):
        check_fits(greedy, 2)
    mended = greedy.with_overrides(gradient_checkpointing=True)
    assert check_fits(mended, 24) == plan_of(mended)


def test_the_count_of_a_small_step_is_the_one_in_closed_form() -> None:
    """A linear layer and an attention: operations by hand; held are what the way back needs, never the scores."""
    n, d, length = 2, 8, 64
    with META:
        layer = nn.Linear(d, d, bias=False)
        x = torch.empty(n, 1, length, d)
    attended = counted(lambda: F.scaled_dot_product_attention(q := layer(x), q, q).sum())
    product = 2 * n * length * length * d
    assert attended.flops == 2 * n * length * d * d * 2 + (2 + 5) * product
    assert attended.held < n * length * length * 4
    assert attended.held >= 2 * n * length * d * 4
    with torch.no_grad():
        forward = counted(lambda: F.scaled_dot_product_attention(q := layer(x), q, q).sum())
    assert forward.flops == 2 * n * length * d * d + 2 * product


def test_the_step_of_a_network_is_counted_with_and_without_checkpointing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpointing computes more and holds less; two rows take twice the operations of one."""
    from prefgen.recipes import full_steps

    monkeypatch.setattr(full_steps, "meta_network", lambda _: tiny_sdxl_unet().to(META))
    monkeypatch.setattr(full_steps, "latent_shape", lambda _: (4, 32, 32))
    shapes = {"text": (77, 64), "pooled": (32,), "time_ids": (6,)}
    monkeypatch.setattr(full_steps, "text_shapes", lambda _: shapes)
    kept, again = (adapter_step("tiny", 2, 8, checkpointing=c) for c in (False, True))
    twice = adapter_step("tiny", 2, 8, checkpointing=False, batch=2)
    assert again.flops > 1.2 * kept.flops
    assert again.held < 0.8 * kept.held
    assert twice.flops == 2 * kept.flops
    forward = adapter_step("tiny", 2, 8, checkpointing=False, heard=False)
    assert 0 < 2 * forward.flops < kept.flops < 3.2 * forward.flops


def test_presets_are_frozen_and_know_their_settings() -> None:
    preset = FULL_PRESETS["sdxl-idefics2"]
    with pytest.raises(FrozenInstanceError):
        preset.adapter_batch = 2  # pyright: ignore[reportAttributeAccessIssue]
    assert preset.with_overrides(dtype=None, adapter_batch=3).adapter_batch == 3
    with pytest.raises(ConfigError, match="did you mean 'float32'"):
        preset.with_overrides(dtype="float3")
    with pytest.raises(ConfigError, match="batch of 1"):
        preset.with_overrides(adapter_batch=0)
    with pytest.raises(ConfigError, match="published model"):
        published("sd16")
    model = meta_personal(FULL_PRESETS["sd15-smolvlm"])
    assert {parameter.device for parameter in model.parameters()} == {META}


def test_a_real_run_without_weights_is_told_in_one_line(cli, tmp_path) -> None:
    with pytest.raises(ModelError, match="not on this machine"):
        train_full(FULL_PRESETS["sd15-smolvlm"], work=tmp_path, out=tmp_path / "model")
    status, out, err = cli("train", "--preset", "sdxl-idefics2", "--work", tmp_path)
    assert (status, out) == (2, "")
    assert "stabilityai/stable-diffusion-xl-base-1.0 are not on this machine" in err
    assert "hint: download them first" in err


def test_a_run_is_refused_where_there_is_no_room(
    cli, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefgen.recipes.full_people import room
    from tiny_own_data import people_folder

    people = people_folder(tmp_path / "people", 14)
    run = ("train", "--preset", "sd15-smolvlm", "--people", people, "--work", tmp_path / "no" / "work")
    monkeypatch.setattr(room, "free_bytes", lambda _: 1.0 * GIB)
    status, _, err = cli(*run)
    assert status == 2
    assert "keeps about" in err
    assert "of 168 pictures, and 1.0 GB are free" in err
    assert "hint: another --work" in err
    monkeypatch.setattr(room, "free_bytes", lambda _: 1e15)
    monkeypatch.setattr(room, "bytes_of_card", lambda: 3.0 * GIB)
    status, _, err = cli(*run)
    assert status == 2
    assert "in its stage 'preferences', more than 3" in err
    assert "--load-4bit" in err
    monkeypatch.setattr(room, "bytes_of_card", lambda: 24.0 * GIB)
    status, _, err = cli(*run)
    assert "on the card besides activations" in err
    assert "are not on this machine" in err
    assert not (tmp_path / "no").exists()
    assert room.free_bytes is not None


def test_free_bytes_are_those_of_the_disk(tmp_path: Path) -> None:
    from prefgen.recipes.full_people.room import bytes_of_card, free_bytes

    assert free_bytes(tmp_path / "not" / "there") == pytest.approx(free_bytes(tmp_path), rel=0.2)
    assert bytes_of_card() is None or torch.cuda.is_available()


def test_the_dry_run_prints_and_refuses(cli, cheap: None) -> None:
    status, out, err = cli("train", "--dry-run", "--preset", "sd15-smolvlm")
    assert status == 0, err
    for told in ("859,520,964 parameters", "38,338,560", "FLOPs per step", "VRAM: about", "(estimate)", "disk for"):
        assert told in out, told
    data = json.loads(cli("train", "--dry-run", "--preset", "sd15-smolvlm", "--batch", 2, "--json")[1])
    assert data["dry_run"] is True
    assert [stage["batch"] for stage in data["stages"]] == [2, 2]
    assert data["stages"][1]["frozen"] == {"generator": 859_520_964}
    status, out, err = cli("train", "--dry-run", "--preset", "sd15-smolvlm", "--vram-gb", 4)
    assert (status, out) == (2, "")
    assert "hint: " in err
    status, _, err = cli("train", "--dry-run", "--preset", "tiny", "--batch", 2)
    assert status == 2
    assert "published weights only" in err
    assert "did you mean 'sdxl-idefics2'" in cli("train", "--dry-run", "--preset", "sdxl-idefic2")[2]


def test_a_plan_over_several_cards_cuts_what_is_kept_and_says_what_is_gathered(cheap: None) -> None:
    preset = FULL_PRESETS["sdxl-idefics2"].with_overrides(adapter_batch=2, mllm_batch=2)
    whole, cut = (plan_of(preset, n_cards=n).stages for n in (1, 2))
    for one, two in zip(whole, cut):
        assert two.vram == sum(two.memory.values()) < one.vram
        for kind in ("frozen weights, bf16", "optimiser, float32", "activations (estimate)"):
            assert 2 * two.memory[kind] == one.memory[kind], kind
    lora, adapter = cut
    assert 0 < adapter.memory["gathered in turn (estimate)"] < 0.5 * whole[1].memory["frozen weights, bf16"]
    assert lora.vram >= 0.999 * (2 * PUBLISHED["idefics2"] + GIB), "the first reads people by the whole model"
    flux = FULL_PRESETS["flux-smolvlm"].with_overrides(load_4bit=False, adapter_batch=2, mllm_batch=2)
    with pytest.raises(ConfigError):
        check_fits(flux, 40)
    assert check_fits(flux, 40, n_cards=2).stages[1].vram < 40 * GIB
    with pytest.raises(ConfigError) as refused:
        check_fits(flux, 10, n_cards=2)
    assert "4bit" not in str(refused.value.hint)


@pytest.mark.parametrize("name", [*BACKBONES, *MLLMS])
def test_what_is_cut_in_turn_is_almost_all_of_a_network(name: str) -> None:
    """No layer holds another's weights anew, and none is large."""
    model = meta_network(name) if name in BACKBONES else meta_mllm(name)
    n_all, gathered = n_parameters(model), full_plan._gathered_at_once(model)
    layers = layers_of(model)
    assert len({id(layer) for layer in layers}) == len(layers) >= 24
    in_layers = {id(p): p.numel() for layer in layers for p in layer.parameters()}
    assert sum(in_layers.values()) > {"smolvlm": 0.8}.get(name, 0.85) * n_all, "but for large vocabularies"
    assert gathered < 0.3 * n_all


def test_weights_are_cut_only_where_that_can_be(cli, monkeypatch: pytest.MonkeyPatch, cheap: None) -> None:
    for name in ("WORLD_SIZE", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)
    told = {
        ("sd15-smolvlm", "--shard"): "expected several processes with --shard, got one",
        ("flux-smolvlm", "--shard", "--processes", 2): "hint: --no-load-4bit",
        ("tiny", "--shard"): "--shard and the like with a preset on published weights only",
        ("tiny", "--people", "nowhere", "--shard"): "expected no --shard with --people",
    }
    for options, message in told.items():
        status, out, err = cli("train", "--dry-run", "--preset", *options)
        assert (status, out) == (2, "")
        assert message in err, err
    status, out, err = cli("train", "--dry-run", "--preset", "sd15-smolvlm", "--shard", "--processes", 2)
    assert status == 0, err
    assert "gathered in turn" in out
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "gathered in turn" in cli("train", "--dry-run", "--preset", "sd15-smolvlm", "--processes", 2)[1]
    assert "hint: without distributed_type: FSDP" in cli("train", "--dry-run", "--preset", "tiny")[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd15-smolvlm", "sd15-idefics2", "sdxl-smolvlm", "sdxl-idefics2"])
def test_the_defaults_on_stable_diffusion_fit_one_card_of_24_gb(name: str) -> None:
    plan = check_fits(FULL_PRESETS[name], 24)
    assert all(stage.flops_per_step > 10**12 for stage in plan.stages)
    assert all(stage.memory["activations (estimate)"] > 0 for stage in plan.stages)


@pytest.mark.parametrize("name", [name for name in MLLMS if name != "idefics2"])
def test_the_eyes_of_every_language_model_are_counted(name: str) -> None:
    """Two operations a weight and patch, or merged patch; attention adds a little, less in windows."""
    whole, record = meta_mllm(name).to(torch.bfloat16), published(name)
    linears = {n: m.weight.numel() for n, m in whole.model.named_modules() if isinstance(m, nn.Linear)}
    patches = sum(n for name, n in linears.items() if re.search(r"(vision_|visual).*(layers|blocks)", name))
    merged = sum(n for name, n in linears.items() if re.search(r"connector|merger|projector", name))
    n_patches = (record["side_px"] // whole.config.vision_config.patch_size) ** 2
    n_tokens = n_patches if "llava" in name else record["tokens_per_picture"]
    with torch.no_grad():
        flops = counted(lambda: see(whole, name, 1)).flops
    expected = 2 * (patches * n_patches + merged * n_tokens)
    assert expected < flops < 1.15 * expected


def test_a_step_of_a_language_model_whose_pictures_have_places_is_counted() -> None:
    """Forward, and on the way back to the frozen weights' inputs, two operations a weight and token; eyes add some."""
    step = lora_step("qwen3-vl", 8, 2, 100, checkpointing=False)
    model = meta_mllm("qwen3-vl")
    words = sum(p.numel() for p in language_model(model).parameters())  # the embeddings are the last layer, too
    expected = 4 * words * (2 * 64 + 100)
    assert 1.05 * expected < step.flops < 1.15 * expected
    assert step.held > 0


def test_the_tokens_of_a_picture_are_those_that_the_processor_gives() -> None:
    """Of a square picture as a profile keeps it."""
    assert {name: published(name)["tokens_per_picture"] for name in MLLMS} == {
        "smolvlm": 81,
        "idefics2": 64,
        "idefics3": 169,
        "qwen2.5-vl": round(MAX_STORED_PX / 28) ** 2,
        "qwen3-vl": (MAX_STORED_PX // 32) ** 2,
        "llava-onevision": 27**2 + 1,
    }


def test_the_commands_on_the_page_run(cli, monkeypatch: pytest.MonkeyPatch, cheap: None) -> None:
    given = commands("docs/backbones.md")
    assert len(given) == 4
    for command in given:
        status, out, err = cli(*words_of(command)[1:])
        assert status == 0, err
        assert "sd15" in out or "stage adapter" in out
