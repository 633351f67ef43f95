"""Packing, losses, LoRA, calibration, and a model that learns whose history it reads."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from prefgen.core import Side
from prefgen.mllm import (
    Branch,
    Pack,
    Told,
    answer_log_likelihoods,
    answer_token,
    calibration_error,
    chat_frame,
    fit_temperature,
    history_parts,
    like_question,
    merged,
    pack,
    preference_loss,
    run_packed,
    same_user_loss,
    with_lora,
)
from prefgen.recipes.preference_vqa import PreferenceTraining, preference_losses
from prefgen.recipes.vqa_packs import Asked, told_sides
from tiny_mllm import tiny_model, tiny_processor

TOKENS = torch.randn(6, 3, 32, generator=torch.Generator().manual_seed(0))


def packed(*packs: Pack):
    return pack(tiny_processor(), chat_frame(tiny_processor()), packs)


def rows_of(batch) -> torch.Tensor:
    return TOKENS[torch.tensor(batch.pictures)]


def test_a_branch_does_not_see_the_others():
    history = [" I like:", 0]
    ask = [Branch(question=like_question(k), answer="Yes, because of gold.") for k in (1, 2)]
    both, second = packed(Pack(history=history, branches=tuple(ask))), packed(Pack(history=history, branches=(ask[1],)))
    model = tiny_model()
    with torch.no_grad():
        a, b = run_packed(model, both, rows_of(both)), run_packed(model, second, rows_of(second))
    torch.testing.assert_close(a[0, both.ends[0, 1]], b[0, second.ends[0, 0]], atol=1e-5, rtol=0)


def test_targets_are_the_answer_and_the_end_of_the_turn():
    tokenizer = tiny_processor().tokenizer
    batch = packed(Pack(history=[0], branches=(Branch(question=like_question(1), answer="Yes, because of gold."),)))
    learned = batch.targets[batch.targets >= 0]
    assert tokenizer.decode(learned) == " Yes, because of gold.<end_of_utterance>"
    assert batch.targets[0, batch.ends[0, 0]] == answer_token(tiny_processor(), chat_frame(tiny_processor()), "Yes")


def test_log_likelihoods_belong_to_their_branches():
    branches = tuple(Branch(question=[" Is it gold?"], answer=a) for a in ("Yes.", "No, because of olive.", "Yes."))
    batch = packed(Pack(history=[0], branches=branches), Pack(history=[1, 2], branches=branches[1:]))
    scores = answer_log_likelihoods(tiny_model(), batch, rows_of(batch))
    assert len(scores) == 5
    assert scores[0] == pytest.approx(scores[2], abs=1e-4)
    single = packed(Pack(history=[1, 2], branches=branches[1:2]))
    assert scores[3] == pytest.approx(answer_log_likelihoods(tiny_model(), single, rows_of(single))[0], abs=1e-3)


def test_preference_loss_in_closed_form():
    zero = torch.zeros(3, 2)
    assert preference_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    right, wrong = torch.tensor([[5.0, -5.0]]), torch.tensor([[-5.0, 5.0]])
    assert preference_loss(right, wrong) < 1e-3 < 19 < preference_loss(wrong, right)


def test_same_user_loss_is_small_only_for_twins_in_their_places():
    twins = torch.eye(4).repeat_interleave(2, 0)
    assert same_user_loss(twins) < 1e-3
    assert same_user_loss(twins[[0, 2, 1, 3, 4, 6, 5, 7]]) > 5


def test_temperature_is_recovered_and_mends_calibration():
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 3, 20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-margins / 2.5))
    assert fit_temperature(margins, labels) == pytest.approx(2.5, rel=0.05)
    assert calibration_error(1 / (1 + np.exp(-margins / 2.5)), labels) < 0.02
    assert calibration_error(1 / (1 + np.exp(-margins * 2)), labels) > 0.1


def test_lora_starts_as_the_base_bit_for_bit_and_stays_in_the_language_model():
    batch = packed(Pack(history=[0, 1], branches=(Branch(question=like_question(2), answer="Yes."),)))
    base = tiny_model()
    with torch.no_grad():
        before = run_packed(base, batch, rows_of(batch))
        wrapped = with_lora(copy.deepcopy(base), rank=4)
        assert torch.equal(run_packed(wrapped.get_base_model(), batch, rows_of(batch)), before)
    trained = [name for name, parameter in wrapped.named_parameters() if parameter.requires_grad]
    assert len(trained) == 3 * 7 * 2
    assert all("text_model.layers" in name and "lora_" in name for name in trained)


def test_merged_lora_is_the_tuned_model_and_touches_nothing_else():
    batch = packed(Pack(history=[0, 1], branches=(Branch(question=like_question(2), answer="Yes."),)))
    base = tiny_model()
    wrapped = with_lora(copy.deepcopy(base), rank=4)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
        tuned = run_packed(wrapped.get_base_model(), batch, rows_of(batch))
        plain = merged(wrapped)
        torch.testing.assert_close(run_packed(plain, batch, rows_of(batch)), tuned, atol=1e-5, rtol=0)
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in base.named_parameters()]
    assert torch.equal(plain.lm_head.weight, base.lm_head.weight)


def _taste_pack(rng: np.random.Generator, likes_first: bool) -> Asked:
    kinds = {True: (0, 1), False: (1, 0)}[likes_first]
    items = [Told(picture=kinds[0], side="like"), Told(picture=kinds[1], side="dislike")]
    first: Side = "like" if rng.random() < 0.5 else "dislike"
    branches = tuple(
        Branch(question=like_question(k), answer="Yes." if k == kinds[0] else "No.", kind="yes_no")
        for k in rng.permutation(2).tolist()
    )
    told = Pack(history=history_parts(items, first=first), branches=branches)
    return Asked(pack=told, pairs=(), kind="own", person=0, sides=told_sides(items, first))


def test_after_a_little_training_swapped_histories_swap_the_answer():
    torch.manual_seed(0)
    model, frame, rng = tiny_model(n_layers=4), chat_frame(tiny_processor()), np.random.default_rng(0)
    module = PreferenceTraining(model)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], 4e-3, betas=(0.9, 0.98))
    yes, no = (answer_token(tiny_processor(), frame, word) for word in ("Yes", "No"))
    for _ in range(200):
        asked = [_taste_pack(rng, bool(i % 2)) for i in range(8)]
        batch = pack(tiny_processor(), frame, [one.pack for one in asked])
        losses = preference_losses(
            module, batch, asked, rows_of(batch), (yes, no), twins=False, contrast=0.3, same_user=0.0
        )
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    right = []
    for i in range(20):
        one = _taste_pack(rng, bool(i % 2)).pack
        batch = pack(tiny_processor(), frame, [one])
        with torch.no_grad():
            hidden = run_packed(model, batch, rows_of(batch))
        for k, branch in enumerate(one.branches):
            said_yes = model.lm_head(hidden[0, batch.ends[0, k]]).argmax().item() == yes
            right.append(said_yes == str(branch.answer).startswith("Yes"))
    assert np.mean(right) == 1.0
