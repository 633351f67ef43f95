"""The two training stages: resumed as if unbroken, features as the port makes them, end to end when asked."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from prefgen.agents import FAMILIES, all_values, paint
from prefgen.core import numpy_rng
from prefgen.mllm import PreferenceMLLM, answer_token, chat_frame, pack, pictures_in
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Deadline, Loop, LoopSettings
from prefgen.recipes.mllm_paint import paint_groups
from prefgen.recipes.mllm_people import N_EVERYTHING, N_PICTURES, pairs_of, scenes_in, scenes_of
from prefgen.recipes.mllm_pretrain import (
    Pretraining,
    image_tokens,
    new_mllm,
    picture_pack,
    pretraining_loss,
    train_mllm_pretrain,
    twin_pack,
    twins_at,
)
from prefgen.recipes.pictures import scene_at
from prefgen.recipes.preference_matching import matching_pack
from prefgen.recipes.preference_vqa import (
    PreferenceTraining,
    batch_at,
    losses_on_the_way,
    preference_losses,
    train_preference_vqa,
)
from prefgen.recipes.presets import Preset, preset_named
from prefgen.recipes.vqa_evaluation import evaluate_vqa
from prefgen.recipes.vqa_packs import KINDS, own_pack, pack_of

SMALL = preset_named("tiny").with_overrides(mllm_layers=3, mllm_image_tokens=2)


@pytest.fixture(scope="module")
def parts():
    return new_mllm(SMALL)


def fresh(parts, preset: Preset = SMALL):
    import copy

    return copy.deepcopy(parts[0]), parts[1]


def preference_loop(parts, folder: Path, lora_rank: int, n_steps: int) -> Loop:
    model, processor = fresh(parts)
    frame = chat_frame(processor)
    answers = answer_token(processor, frame, "Yes"), answer_token(processor, frame, "No")
    features = np.random.default_rng(0).normal(size=(6 * N_PICTURES, 2, SMALL.mllm_width)).astype(np.float32)
    torch.manual_seed(0)
    module = PreferenceTraining(model, lora_rank=lora_rank)

    def loss(step: int, generator: torch.Generator):
        asked, twins = batch_at(step, n_people=6, n_packs=4, seed=0)
        batch = pack(processor, frame, [one.pack for one in asked])
        rows = torch.from_numpy(features[batch.pictures])
        return preference_losses(module, batch, asked, rows, answers, twins=twins, contrast=0.3, same_user=0.1)

    settings = LoopSettings(n_samples=n_steps * 28, batch_size=28, learning_rate=1e-3, ema_decay=0.9, bf16=False)
    return Loop("vqa", folder, module, loss, settings)


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_preference_training_resumes_bit_for_bit_and_spares_the_vision_tower(parts, tmp_path, lora_rank):
    whole = preference_loop(parts, tmp_path / "a", lora_rank, 4)
    start = {k: v.clone() for k, v in whole.module.state_dict().items()}
    whole.run(Deadline())
    first = preference_loop(parts, tmp_path / "b", lora_rank, 4)
    first.one_step(), first.one_step()
    first.save()
    second = preference_loop(parts, tmp_path / "b", lora_rank, 4)
    second.run(Deadline())
    trained = {name for name, p in whole.module.named_parameters() if p.requires_grad}
    assert trained
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, second.module.state_dict()[name]), name
        if name not in trained:
            assert torch.equal(value, start[name]), name
    assert not any("vision_model" in name or "connector" in name for name in trained)
    if lora_rank:
        assert all("lora_" in name or not name.startswith("model.") for name in trained)


def test_throw_away_heads_are_asked_at_the_pictures_they_speak_of(parts):
    model, processor = fresh(parts)
    module = PreferenceTraining(model)
    asked = [own_pack(numpy_rng(i), i, "train", easy=True) for i in range(4)]
    asked.append(matching_pack(numpy_rng("match"), 4, everything=False))
    batch = pack(processor, chat_frame(processor), [one.pack for one in asked])
    is_liked = torch.tensor([1.0 if key % 2 == 0 else -1.0 for key in batch.pictures]).repeat_interleave(2)
    states = torch.zeros(*batch.input_ids.shape, SMALL.mllm_width)
    states[..., 0][batch.input_ids == model.config.image_token_id] = is_liked
    for head in (module.side_head, *module.answer_heads):
        torch.nn.init.zeros_(head.bias)
        torch.nn.init.zeros_(head.weight)
        head.weight.data[0, 0] = 20
    truth = [b.answer for one in asked for b in one.pack.branches if b.kind == "yes_no"]
    labels = torch.tensor([0 if str(answer).startswith("Yes") else 1 for answer in truth])
    layers = dict.fromkeys((module.quarter, module.halfway, module.middle), states)
    right = losses_on_the_way(module, batch, asked, layers, labels, 2)
    assert max(right["side"], right["pictures"]) < 1e-6
    wrong = losses_on_the_way(module, batch, asked, layers, 1 - labels, 2)
    assert wrong["side"] < 1e-6 < 10 < wrong["pictures"]


def test_each_picture_of_a_history_stands_for_the_words_of_its_side(parts):
    model, processor = fresh(parts)
    module = PreferenceTraining(model)
    asked = [own_pack(numpy_rng(i), i, "train", easy=True) for i in range(3)]
    batch = pack(processor, chat_frame(processor), [one.pack for one in asked])
    torch.nn.init.zeros_(module.taste_head.bias)
    module.taste_head.weight.data = torch.eye(len(all_values()), SMALL.mllm_width)
    n_told = SMALL.mllm_width  # the head sees that many words, the others stay at even odds
    states = torch.zeros(*batch.input_ids.shape, SMALL.mllm_width)
    for r, one in enumerate(asked):
        assert one.tastes == pairs_of(r, "train")[0].current_tastes()
        places = (batch.input_ids[r] == model.config.image_token_id).nonzero()[:, 0].tolist()
        for k, side in enumerate(one.sides):
            held = {v for t in one.tastes for vs in getattr(t, f"{side}s").values() for v in vs}
            truth = torch.tensor([20.0 if value in held else -20.0 for value in all_values()[:n_told]])
            states[r, places[2 * k + 1]][: len(truth)] = truth
    layers = dict.fromkeys((module.quarter, module.halfway, module.middle), states)
    labels = torch.zeros(sum(b.kind == "yes_no" for one in asked for b in one.pack.branches), dtype=torch.long)
    unheard = max(0, len(all_values()) - n_told) * math.log(2) / len(FAMILIES)
    told = losses_on_the_way(module, batch, asked, layers, labels, 2)["taste"]
    assert abs(told.item() - unheard) < 1e-3
    assert losses_on_the_way(module, batch, asked, dict.fromkeys(layers, -states), labels, 2)["taste"] > told + 10


def test_only_histories_of_one_person_teach_a_taste():
    kinds = {kind: pack_of(numpy_rng("taste", kind), 5, "train", kind).tastes for kind in KINDS}
    assert kinds["own"]
    assert not any(kinds[kind] for kind in ("weighted", "aged", "aspect", "other", "none"))


def test_matching_asks_of_pairs_that_the_history_does_not_show():
    for index in range(6):
        for everything in (True, False):
            asked = matching_pack(numpy_rng("matching", index), index, everything=everything)
            shown = {scenes_of(index)[key % N_PICTURES].subject for key in pictures_in(asked.pack.history)}
            asked_of = [key % N_PICTURES for branch in asked.pack.branches for key in pictures_in(branch.question)]
            assert not shown & {scenes_of(index)[slot].subject for slot in asked_of}
            assert any(slot >= 2 * N_EVERYTHING for slot in asked_of) != everything
            assert [b.answer for b in asked.pack.branches] == ["Yes.", "No."] * (len(asked_of) // 2)


def test_pretraining_reaches_every_part_of_the_model(parts):
    model, processor = fresh(parts)
    torch.manual_seed(0)
    module = Pretraining(model, 2, SMALL.mllm_width)
    rng = np.random.default_rng(0)
    scenes = [scene_at("train", 0), *twins_at(0), *twins_at(1)]
    pictures = np.stack([paint(scene) for scene in scenes])
    packs = [
        picture_pack(rng, scenes[0], 0),
        twin_pack(rng, twins_at(0), (1, 2, 3)),
        twin_pack(rng, twins_at(1), (4, 5, 6)),
    ]
    losses = pretraining_loss(module, processor, chat_frame(processor), packs, module.features(pictures), scenes, 2)
    losses["loss"].backward()
    idle = {name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert idle == set()


def test_training_tokens_are_the_ports_tokens(parts):
    model, processor = fresh(parts)
    port = PreferenceMLLM(model, processor)
    picture = paint(scenes_of(0)[0])
    with torch.no_grad():
        trained = image_tokens(port.model, picture[None])[0]
    torch.testing.assert_close(port.vision.tokens([Image.fromarray(picture)])[0], trained, atol=1e-5, rtol=0)


def test_groups_are_painted_once_and_anew_when_their_number_changes(tmp_path):
    path = tmp_path / "people.npy"
    first = np.array(paint_groups(path, scenes_in("train"), 2, N_PICTURES))
    np.testing.assert_array_equal(first[1, 3], paint(scenes_of(1)[3]))
    stamp = path.stat().st_mtime_ns
    paint_groups(path, scenes_in("train"), 2, N_PICTURES)
    assert path.stat().st_mtime_ns == stamp
    assert len(paint_groups(path, scenes_in("train"), 1, N_PICTURES)) == 1


@pytest.mark.slow
def test_both_stages_end_to_end(tmp_path):
    preset = SMALL.with_overrides(
        n_pictures=64, mllm_twins=8, mllm_pretrain_samples=64, mllm_vqa_samples=112, n_users=8, mllm_validation=4
    )
    context = Context(preset=preset, work=tmp_path, out=tmp_path / "model", deadline=Deadline())
    train_mllm_pretrain(context)
    train_preference_vqa(context)
    report = evaluate_vqa(PreferenceMLLM.from_pretrained(tmp_path / "model" / "mllm"), n_people=4)
    assert 0 <= report["everything_accuracy"] <= 1
    assert (tmp_path / "preference_vqa.report.json").exists()
