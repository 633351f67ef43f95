"""What every family of vision-language models must hold, as checks of a port that was loaded from a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prefgen.core import ConfigError, History, ModelError
from prefgen.mllm import (
    LIKES_QUESTION,
    PreferenceMLLM,
    VisionCache,
    answer_token,
    captured_layers,
    choice_question,
    history_parts,
    language_model,
    like_question,
    load_lora,
    pictures_in,
    plain_inputs,
    plain_logits,
    save_lora,
    told_from,
    with_lora,
    word_question,
)
from tiny_mllm import history, noise

EXACT = {"atol": 1e-5, "rtol": 0}
HISTORIES = [history(3, 2, 1), history(1, 0, 2, prompt="a fox"), history(0, 4, 3, comment="no gold")]
QUESTIONS = [like_question(noise(77, 60)), word_question("gold", "like"), choice_question(noise(78), noise(79))]
Loader = Callable[..., PreferenceMLLM]


def told(one: History) -> list[Any]:
    """The history's parts."""
    return history_parts(told_from(one))


def packed_logits(mllm: PreferenceMLLM, one: History, questions: list[Any]) -> torch.Tensor:
    """Logits of the answers' first tokens, as the port reads them."""
    return mllm._branch_logits(told(one), questions)


def texts_stand_between_pictures_in_order(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    parts = [" I like:", noise(1), " red.", noise(2), " blue.", " Does the user like gold?"]
    text = mllm.frame.prompt(parts)
    places = [text.index(word) for word in (" I like:", " red.", " blue.", " Does the user")]
    assert places == sorted(places)
    assert text.count(mllm.processor.image_token) == 2
    first, second = (text.index(mllm.processor.image_token), text.rindex(mllm.processor.image_token))
    assert places[0] < first < places[1] < second < places[2]
    if mllm.family.model_type != "llava_onevision":  # whose own template puts pictures first
        content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image"} for p in parts]
        own = mllm.processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=mllm.processor.chat_template,
            tokenize=False,
            add_generation_prompt=True,
        )
        first_token = mllm.processor.tokenizer.bos_token or ""
        assert text.removeprefix(first_token) == own.removeprefix(first_token)
    token = mllm.processor.image_token
    assert token not in mllm.frame.body([f'a comment that says "{token}"'])


def the_prompt_begins_once(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    tokenizer = mllm.processor.tokenizer
    own = tokenizer(mllm.frame.opening.removeprefix(tokenizer.bos_token or ""))["input_ids"]
    assert tokenizer(mllm.frame.opening, add_special_tokens=False)["input_ids"] == own


def a_padded_row_is_the_history_alone(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    batch = mllm.encode_batch(HISTORIES)
    for row, one in enumerate(HISTORIES):
        alone = mllm.encode(one)
        for side in ("like", "dislike"):
            for kind in ("last", "mean"):
                states = [getattr(getattr(s, side), kind) for s in (batch, alone)]
                torch.testing.assert_close(states[0][row], states[1], **EXACT)
    together = plain_logits(mllm, HISTORIES, QUESTIONS)
    for row, (one, question) in enumerate(zip(HISTORIES, QUESTIONS)):
        torch.testing.assert_close(together[row], plain_logits(mllm, [one], [question])[0], **EXACT)


def rows_are_padded_on_the_left(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    texts = [mllm.frame.prompt(told(one)) for one in HISTORIES]
    inputs = plain_inputs(mllm, texts, [pictures_in(told(one)) for one in HISTORIES])
    assert inputs["attention_mask"][:, -1].all()
    assert not inputs["attention_mask"][:, 0].all()


def sixteen_pictures_fit_a_stated_context(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    shown = History(items=tuple(replace(i, image=noise(k, 300), sha256="") for k, i in enumerate(history(8, 8).items)))
    least = 17 if mllm.family.model_type == "llava_onevision" else 4
    small = load(image_tokens=least, context_tokens=600)
    assert 0 < small.score(shown, [noise(1)])[0] < 1
    taken = {len(tokens) for tokens in small.vision.tokens([i.image for i in shown.items])}
    assert 1 <= min(taken) <= max(taken) <= least
    with pytest.raises(ModelError, match="at most 100 tokens, got one of") as caught:
        load(image_tokens=least, context_tokens=100).score(shown, [noise(1)])
    assert "image_tokens" in str(caught.value.hint)
    for budget in ({"image_tokens": 0}, {"max_side_px": True}, {"image_tokens": 1.5}):
        with pytest.raises(ConfigError, match="whole number"):
            load(**budget)


def answers_are_single_distinct_tokens_behind_the_frame(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    prompt, tokenizer = mllm.frame.prompt([" Does the user like gold?"]), mllm.processor.tokenizer
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    found = []
    for word in ("Yes", "No", "First", "Second"):
        after = tokenizer(prompt + mllm.frame.gap + word, add_special_tokens=False)["input_ids"]
        assert after[:-1] == before
        assert after[-1] == answer_token(mllm.processor, mllm.frame, word)
        found.append(after[-1])
    assert len(set(found)) == 4
    assert tuple(found[:2]) == mllm.yes_no
    assert (mllm.frame.gap == "") == mllm.frame.closing.endswith("\n")


def hooks_take_what_transformers_reports(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    one = HISTORIES[0]
    text = mllm.frame.prompt([*told(one), LIKES_QUESTION])
    inputs = plain_inputs(mllm, [text], [[item.image for item in one.items]])
    with torch.no_grad():
        out = mllm.model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
    states = mllm.encode(one)
    assert len(out) == mllm.n_states == len(language_model(mllm.model).layers) + 1
    torch.testing.assert_close(states.like.last, torch.stack(list(out))[:, 0, -1], **EXACT)
    at = (inputs["input_ids"][0] == mllm.image_token).nonzero()[:, 0]
    n_liked = sum(len(tokens) for tokens in mllm.vision.tokens([item.image for item in one.liked]))
    torch.testing.assert_close(states.like.mean, torch.stack(list(out))[:, 0, at[:n_liked]].mean(1), **EXACT)
    torch.testing.assert_close(mllm.encode(one, [2, 0]).like.last, states.like.last[[2, 0]], **EXACT)
    with captured_layers(mllm.model, [1]) as taken, torch.no_grad():
        mllm.model(**inputs, use_cache=False)
    assert list(taken) == [1]


def cached_pictures_are_exact_and_made_once(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    pictures = [noise(1), noise(2, 70), noise(3, 44).resize((70, 40)), noise(4)]
    cache = VisionCache(mllm.model, mllm.processor, placeholder=mllm.frame.image)
    alone = torch.cat(cache.tokens(pictures))
    nested = [pictures] if not mllm.family.model_type.startswith("qwen") else pictures
    joint = mllm.processor.image_processor(nested, return_tensors="pt")
    with torch.no_grad():
        pooled = mllm.model.model.get_image_features(**joint).pooler_output
    together = torch.cat(tuple(pooled)) if not torch.is_tensor(pooled) else pooled.flatten(0, -2)
    torch.testing.assert_close(alone, together, **EXACT)
    assert cache.n_computed == 4
    cache.tokens([pictures[0].copy(), pictures[3]])
    assert cache.n_computed == 4


def packed_reading_is_plain_reading(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    assert (mllm.reading, mllm.reading_reason) == ("packed", "")
    plain = plain_logits(mllm, HISTORIES, QUESTIONS)
    port = PreferenceMLLM(mllm.model, mllm.processor, reading="plain")
    for row, one in enumerate(HISTORIES):
        for reader in (mllm, port):
            found = packed_logits(reader, one, [word_question("olive", "like"), *QUESTIONS])
            torch.testing.assert_close(found[row + 1], plain[row], **EXACT)
    states = [reader.encode_batch(HISTORIES) for reader in (mllm, port)]
    for side in ("like", "dislike"):
        for kind in ("last", "mean"):
            pair = [getattr(getattr(s, side), kind) for s in states]
            torch.testing.assert_close(*pair, **EXACT)
    queried = [reader.query_states(HISTORIES[0], [noise(k) for k in range(5)]) for reader in (mllm, port)]
    torch.testing.assert_close(*queried, **EXACT)


def pictures_matter(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    one = HISTORIES[0]
    blank = History(items=tuple(replace(i, image=noise(0).point(lambda _: 120), sha256="") for i in one.items))
    moved = packed_logits(mllm, one, QUESTIONS) - packed_logits(mllm, blank, QUESTIONS)
    assert moved.abs().max() > 1e-3
    for k, item in enumerate(one.items):  # each of them, the last one too
        changed = (*one.items[:k], replace(item, image=noise(900), sha256=""), *one.items[k + 1 :])
        assert (packed_logits(mllm, one, QUESTIONS) - packed_logits(mllm, History(items=changed), QUESTIONS)).any()


def lora_starts_as_the_base_and_comes_back(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    port, one = load(), HISTORIES[0]
    base = packed_logits(port, one, QUESTIONS)
    wrapped = with_lora(port.model, rank=4)
    assert torch.equal(packed_logits(port, one, QUESTIONS), base)
    trained = [name for name, weight in wrapped.named_parameters() if weight.requires_grad]
    assert len(trained) == 3 * 7 * 2
    assert all("lora_" in n and (".text_model.layers" in n or ".language_model.layers" in n) for n in trained)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    tuned = packed_logits(port, one, QUESTIONS)
    assert (tuned - base).abs().max() > 1e-3
    with wrapped.disable_adapter():
        assert torch.equal(packed_logits(port, one, QUESTIONS), base)
    save_lora(wrapped, tmp / "lora")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {p.name for p in (tmp / "lora").iterdir()}
    assert torch.equal(packed_logits(load(lora=tmp / "lora"), one, QUESTIONS), tuned)
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        load_lora(port.model, tmp)


def gradients_are_those_without_checkpointing(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    found = []
    for checkpointing in (False, True):
        port = load(gradient_checkpointing=checkpointing)
        torch.manual_seed(0)
        wrapped = with_lora(port.model, rank=2)
        assert getattr(port.model, "is_activation_checkpointing", checkpointing) == checkpointing
        texts, images = [port.frame.prompt([*told(HISTORIES[0])])], [[i.image for i in HISTORIES[0].items]]
        logits = wrapped.train()(**plain_inputs(port, texts, images), use_cache=False).logits
        logits[:, -1].logsumexp(-1).sum().backward()
        found.append([w.grad for n, w in wrapped.named_parameters() if "lora_B" in n])
    assert any(grad.abs().max() > 0 for grad in found[0])
    for plain, checked in zip(*found):
        torch.testing.assert_close(plain, checked, **EXACT)


def attention_and_precision_can_be_chosen(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    sdpa = packed_logits(mllm, HISTORIES[0], QUESTIONS)
    eager = load(attention="eager")
    assert eager.model.config.get_text_config()._attn_implementation == "eager"
    assert eager.reading == "packed"
    torch.testing.assert_close(packed_logits(eager, HISTORIES[0], QUESTIONS), sdpa, atol=2e-5, rtol=0)
    half = load(dtype=torch.bfloat16)
    found = packed_logits(half, HISTORIES[0], QUESTIONS)
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    assert (found - sdpa).abs().max() < 0.5 < sdpa.abs().max()


def every_kind_of_answer_is_given(mllm: PreferenceMLLM, load: Loader, tmp: Path) -> None:
    port = PreferenceMLLM(mllm.model, mllm.processor, words=[("gold", "palette"), ("olive", "palette")])
    one, a, b = HISTORIES[0], noise(1), noise(2)
    together = port.score(one, [a, b])
    assert together == pytest.approx([port.score(one, [a])[0], port.score(one, [b])[0]], abs=1e-5)
    margin = plain_logits(port, [one], [like_question(a)])[0, list(port.yes_no)]
    assert together[0] == pytest.approx(torch.softmax(margin, 0)[0].item(), abs=1e-5)
    assert port.choose(one, a, b) + port.choose(one, b, a) == pytest.approx(1, abs=1e-5)
    words = port.explain(one, threshold=0.0, least_weight=0.0)
    assert sorted(w for side in words.values() for w, _, _ in side) == ["gold", "olive"]
    assert port.score(History(items=()), [a]) != port.score(one, [a])


CHECKS: tuple[Callable[[PreferenceMLLM, Loader, Path], None], ...] = (
    texts_stand_between_pictures_in_order,
    the_prompt_begins_once,
    a_padded_row_is_the_history_alone,
    rows_are_padded_on_the_left,
    sixteen_pictures_fit_a_stated_context,
    answers_are_single_distinct_tokens_behind_the_frame,
    hooks_take_what_transformers_reports,
    cached_pictures_are_exact_and_made_once,
    packed_reading_is_plain_reading,
    pictures_matter,
    lora_starts_as_the_base_and_comes_back,
    gradients_are_those_without_checkpointing,
    attention_and_precision_can_be_chosen,
    every_kind_of_answer_is_given,
)


def check_mllm(load: Loader, tmp: Path) -> None:
    """The whole contract, for a family of one's own: `load` is `PreferenceMLLM.from_pretrained` with its folder set."""
    for check in CHECKS:
        check(load(), load, tmp)
