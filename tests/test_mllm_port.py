"""The port: rows as if alone, pictures that matter, exact caches, notes that move the answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prefgen.core import History, ModelError
from prefgen.mllm import (
    PreferenceMLLM,
    VisionCache,
    answer_token,
    captured_layers,
    chat_frame,
    history_parts,
    like_question,
    plain_logits,
    told_from,
    word_question,
)
from tiny_mllm import N_IMAGE_TOKENS, history, noise, tiny_mllm, tiny_model, tiny_processor

PARTS = [(side, kind) for side in ("like", "dislike") for kind in ("last", "mean")]


def part(states, side: str, kind: str) -> torch.Tensor:
    return getattr(getattr(states, side), kind)


def test_a_row_of_a_padded_batch_is_the_history_alone():
    histories = [history(5, 3, 1), history(1, 0, 2, prompt="a fox"), history(0, 2, 3, comment="no gold")]
    batch = tiny_mllm().encode_batch(histories)
    for row, one in enumerate(histories):
        alone = tiny_mllm().encode(one)
        for side, kind in PARTS:
            torch.testing.assert_close(part(batch, side, kind)[row], part(alone, side, kind), atol=1e-5, rtol=0)


def test_packed_questions_equal_one_padded_row_per_question():
    histories = [history(3, 2, 1), history(1, 0, 2, weight=3.0), history(0, 4, 3)]
    questions = [like_question(noise(77)), word_question("gold", "like"), like_question(noise(78))]
    plain = plain_logits(tiny_mllm(), histories, questions)
    for row, (one, question) in enumerate(zip(histories, questions)):
        packed = tiny_mllm()._branch_logits(history_parts(told_from(one)), [[" Does the user like gold?"], question])[1]
        torch.testing.assert_close(packed, plain[row], atol=1e-5, rtol=0)


def test_states_are_those_transformers_reports():
    mllm, one = tiny_mllm(), history(2, 1, 4)
    states = mllm.encode(one)
    assert states.like.last.shape == (mllm.n_states, mllm.width) == (4, 32)
    text = mllm.frame.prompt([*history_parts(told_from(one)), " What does this user like?"])
    inputs = mllm.processor(text=[text], images=[[item.image for item in one.items]], return_tensors="pt")
    with torch.no_grad():
        out = mllm.model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
    torch.testing.assert_close(states.like.last, torch.stack(out)[:, 0, -1], atol=1e-5, rtol=0)
    at = (inputs["input_ids"][0] == mllm.image_token).nonzero()[:, 0][: 2 * N_IMAGE_TOKENS]
    torch.testing.assert_close(states.like.mean, torch.stack(out)[:, 0, at].mean(1), atol=1e-5, rtol=0)


def test_only_the_states_asked_for_are_returned_and_hooks_are_gone_afterwards():
    mllm, one = tiny_mllm(), history(2, 1, 4)
    layers = mllm.model.model.text_model.layers
    before = [len(layer._forward_hooks) for layer in layers]  # transformers leaves some of its own
    torch.testing.assert_close(mllm.encode(one, [3, 1]).like.last, mllm.encode(one).like.last[[3, 1]])
    assert [len(layer._forward_hooks) for layer in layers] == before
    with pytest.raises(ModelError, match="between 0 and 3"), captured_layers(mllm.model, [9]):
        pass


def test_pictures_matter():
    one = history(2, 2, 5)
    blank = History(items=tuple(replace(i, image=noise(0).point(lambda _: 128), sha256="") for i in one.items))
    assert (tiny_mllm().encode(one).like.last - tiny_mllm().encode(blank).like.last).abs().max() > 1e-4
    a, b = tiny_mllm().score(one, [noise(1), noise(2)])
    assert abs(a - b) > 1e-5


def test_swapping_likes_and_dislikes_changes_the_states_and_the_score():
    one = history(2, 2, 6)
    swapped = History(items=tuple(replace(i, side="dislike" if i.side == "like" else "like") for i in one.items))
    assert not torch.allclose(tiny_mllm().encode(one).like.last, tiny_mllm().encode(swapped).like.last)
    assert tiny_mllm().score(one, [noise(1)]) != tiny_mllm().score(swapped, [noise(1)])


def test_the_empty_side_has_no_mean_but_a_state():
    states = tiny_mllm().encode(history(2, 0, 7))
    assert states.dislike.mean.abs().max() == 0
    assert states.dislike.last.abs().max() > 0


def test_a_heavier_picture_weighs_more_in_the_mean():
    one = history(2, 0, 8)
    heavy = History(items=(replace(one.items[0], weight=1.4), one.items[1]))  # 1.4 goes unmentioned in the text
    per_picture = [tiny_mllm().encode(History(items=one.items)).like.mean, tiny_mllm().encode(heavy).like.mean]
    assert not torch.allclose(*per_picture)


@pytest.mark.parametrize(
    "change", [{"weight": 3.0}, {"weight": 0.2}, {"aspect": "colours"}, {"comment": "gold"}, {"prompt": "a fox"}]
)
def test_every_note_reaches_the_answer(change):
    one = history(2, 2, 9)
    noted = History(items=(replace(one.items[0], **change), *one.items[1:]))
    assert tiny_mllm().score(one, [noise(1)]) != tiny_mllm().score(noted, [noise(1)])


def test_words_of_the_person_reach_every_answer():
    mllm, one = tiny_mllm(), history(2, 1, 9)
    noted = {"notes_like": ("gold",), "notes_dislike": ("olive", "pop art")}
    assert mllm.score(one, [noise(1)]) != mllm.score(one, [noise(1)], **noted)
    assert not torch.equal(mllm.encode(one).like.last, mllm.encode(one, **noted).like.last)
    assert mllm.explain(one, threshold=0.0, least_weight=0.0) != mllm.explain(
        one, threshold=0.0, least_weight=0.0, **noted
    )
    assert history_parts([], **noted)[1:] == [" I like gold.", " I dislike olive, pop art."]


def test_age_is_told_from_the_newest_picture_back():
    one = history(2, 0, 9)
    timed = History(items=(replace(one.items[0], time_s=0.0), replace(one.items[1], time_s=400 * 86_400.0)))
    text = tiny_mllm().frame.body(history_parts(told_from(timed)))
    assert text == " I like (long ago):<image> I like:<image>."


def test_the_callers_history_is_not_changed():
    one = history(2, 2, 10)
    before, pixels = replace(one), [item.image.tobytes() for item in one.items]
    mllm = tiny_mllm()
    mllm.encode(one), mllm.score(one, [noise(1), noise(2)]), mllm.choose(one, noise(1), noise(2)), mllm.explain(one)
    assert one == before
    assert [item.image.tobytes() for item in one.items] == pixels


def test_choice_does_not_depend_on_the_order():
    one = history(2, 2, 11)
    ab, ba = tiny_mllm().choose(one, noise(1), noise(2)), tiny_mllm().choose(one, noise(2), noise(1))
    assert ab + ba == pytest.approx(1, abs=1e-5)
    assert 0 < ab < 1


def test_explain_names_known_words_once_with_weight_and_confidence():
    found = tiny_mllm().explain(history(2, 2, 12), threshold=0.0, least_weight=0.0)
    names = [word for side in ("likes", "dislikes") for word, _, _ in found[side]]
    assert sorted(names) == ["gold", "olive", "pop art"]
    assert all(0 < weight <= confidence <= 1 for side in found.values() for _, weight, confidence in side)


def test_cached_tokens_are_exact_and_computed_once():
    model, pictures = tiny_model(), [noise(1), noise(2, 48), noise(3)]
    cache = VisionCache(model, tiny_processor(), max_items=2)
    tokens = cache.tokens([*pictures, pictures[0].copy()])
    assert cache.n_computed == 3
    assert len(cache.kept) == 2
    joint = tiny_processor().image_processor([pictures], return_tensors="pt")
    with torch.no_grad():
        together = torch.cat(tuple(model.model.get_image_features(**joint).pooler_output))
    torch.testing.assert_close(torch.cat(tokens[:3]), together, atol=2e-6, rtol=0)
    assert torch.equal(tokens[0], tokens[3])
    again = cache.tokens(pictures[1:])
    assert cache.n_computed == 3
    assert torch.equal(again[0], tokens[1])


def test_temperature_softens_the_score_and_is_read_from_the_folder(tmp_path):
    mllm = tiny_mllm()
    mllm.model.save_pretrained(tmp_path)
    mllm.processor.save_pretrained(tmp_path)
    (tmp_path / "calibration.json").write_text('{"temperature": 4.0}')
    (tmp_path / "words.json").write_text('[{"word": "gold", "family": "palette"}]')
    loaded = PreferenceMLLM.from_pretrained(tmp_path)
    one = history(2, 1, 13)
    hard, soft = (torch.tensor(m.score(one, [noise(1)])[0]).logit() for m in (mllm, loaded))
    assert soft.item() == pytest.approx(hard.item() / 4, abs=1e-4)
    assert loaded.words == (("gold", "palette"),)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="vision-language model"):
        PreferenceMLLM.from_pretrained(tmp_path)


def test_answers_of_several_tokens_are_refused():
    frame = chat_frame(tiny_processor())
    assert answer_token(tiny_processor(), frame, "Yes") != answer_token(tiny_processor(), frame, "No")
    with pytest.raises(ModelError, match="one token"):
        answer_token(tiny_processor(), frame, "Supercalifragilistic")
