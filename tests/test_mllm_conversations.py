"""The conversations: labels that travel with their pictures, queries apart from histories, fair answers."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from prefgen.agents import FAMILIES, LOOKS, RESERVED_SUBJECTS, is_reserved
from prefgen.agents.scene import SEED_CLASSES
from prefgen.core import History, HistoryItem, numpy_rng
from prefgen.mllm import history_parts
from prefgen.mllm.chat import pictures_in
from prefgen.mllm.wording import MOST_LETTERS, MOST_LETTERS_IN_ALL, MOST_TOLD, told_from
from prefgen.recipes.mllm_people import ASPECT_FAMILIES, N_EVERYTHING, N_ONE, N_PICTURES, pairs_of, scenes_of
from prefgen.recipes.mllm_pretrain import picture_pack, twin_pack, twins_at
from prefgen.recipes.mllm_texts import tokenizer_texts
from prefgen.recipes.preference_vqa import batch_at
from prefgen.recipes.vqa_evaluation import evaluation_pack
from prefgen.recipes.vqa_packs import KINDS, Asked, pack_of
from prefgen.recipes.vqa_slots import chosen_slots, slots_of, told

PEOPLE = range(6)
KIND_NAMES = tuple(KINDS)


def scene_of(key: int):
    return scenes_of(key // N_PICTURES)[key % N_PICTURES]


def asked_of(kind: str, n: int = 3) -> list[Asked]:
    return [pack_of(numpy_rng("test", kind, i, k), i + 1, "train", kind) for i in PEOPLE for k in range(n)]  # type: ignore[arg-type]


def text_of(asked: Asked) -> str:
    parts = [*asked.pack.history, *(p for b in asked.pack.branches for p in (*b.question, f" {b.answer}"))]
    return "".join(part if isinstance(part, str) else "<image>" for part in parts)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_a_query_shares_neither_subject_nor_prompt_with_its_history(kind):
    for asked in asked_of(kind):
        shown = {scene_of(key).subject for key in pictures_in(asked.pack.history)}
        for branch in asked.pack.branches:
            if branch.kind in ("yes_no", "choice"):
                assert not shown & {scene_of(key).subject for key in pictures_in(branch.question)}


def test_order_and_labels_move_together():
    pairs = slots_of(3, "train", range(N_EVERYTHING))
    slots = chosen_slots(numpy_rng(0), pairs, 4, 4)
    truth = {slot.key: slot.liked for slot in slots}
    for shuffle in range(4):
        order = numpy_rng("shuffle", shuffle).permutation(len(slots))
        items = told(numpy_rng(1), [slots[int(i)] for i in order], flipped=0.0)
        parts = history_parts(items, first="like" if shuffle % 2 else "dislike")
        for before, part in itertools.pairwise(parts):
            if not isinstance(part, str):
                assert before == (" I like:" if truth[part] else " I dislike:")
        assert sorted(pictures_in(parts)) == sorted(truth)


def test_flipped_labels_flip_the_side_and_carry_no_comment():
    slots = [slot for pair in slots_of(3, "train", range(N_EVERYTHING)) for slot in pair]
    items = told(numpy_rng(1), slots, flipped=1.0, comments=1.0)
    assert all((item.side == "like") != slot.liked and item.comment is None for item, slot in zip(items, slots))


def test_comments_name_attributes_of_their_own_picture():
    slots = [slot for pair in slots_of(4, "train", range(N_EVERYTHING)) for slot in pair]
    items = told(numpy_rng(1), slots, flipped=0.0, comments=1.0)
    assert any(item.comment for item in items)
    for item, slot in zip(items, slots):
        if item.comment:
            assert any(value in item.comment for value in slot.scene.values.values())


def test_answers_are_balanced_and_begin_with_yes_or_no():
    counts: dict[str, Counter[str]] = {}
    for step in range(24):
        for asked in batch_at(step, n_people=8, n_packs=6, seed=0)[0]:
            for branch in asked.pack.branches:
                counts.setdefault(branch.kind, Counter())[str(branch.answer).split(",")[0].rstrip(".")] += 1
    assert set(counts["yes_no"]) == {"Yes", "No"}
    for kind in ("yes_no", "choice", "same_user"):
        total, most = sum(counts[kind].values()), max(counts[kind].values())
        assert most / total < 0.5 + 2.5 * 0.5 / np.sqrt(total), (kind, counts[kind])
    assert {"likes", "dislikes", "word", "line", "same_user"} <= set(counts)


def test_two_histories_of_one_person_are_disjoint():
    packs, twins = batch_at(0, n_people=8, n_packs=8, seed=3)
    assert twins
    for a, b in zip(packs[::2], packs[1::2]):
        assert a.person == b.person
        assert not set(pictures_in(a.pack.history)) & set(pictures_in(b.pack.history))
        subjects = [{scene_of(key).subject for key in pictures_in(p.pack.history)} for p in (a, b)]
        assert not subjects[0] & subjects[1]


def test_a_batch_is_a_pure_function_of_its_step():
    assert batch_at(7, n_people=8, n_packs=4, seed=0) == batch_at(7, n_people=8, n_packs=4, seed=0)
    assert batch_at(7, n_people=8, n_packs=4, seed=0) != batch_at(9, n_people=8, n_packs=4, seed=0)


def test_pairs_of_one_person_share_no_subject_and_keep_to_the_split():
    for split in ("train", "validation"):
        for index in PEOPLE:
            pairs = pairs_of(index, split)[1]
            subjects = [pair.liked.subject for pair in pairs]
            assert len(set(subjects)) == len(subjects)
            assert all(pair.liked.subject == pair.disliked.subject for pair in pairs)
            assert not set(subjects) & set(RESERVED_SUBJECTS)
            for scene in scenes_of(index, split):
                assert scene.seed % 8 == SEED_CLASSES.index(split)
                assert not any(is_reserved(scene.subject, value) for value in scene.values.values())


def test_people_of_two_splits_are_others():
    train = {pairs_of(i, "train")[0].id for i in PEOPLE}
    assert not train & {pairs_of(i, "validation")[0].id for i in PEOPLE}
    seeds = {scene.seed for i in PEOPLE for scene in scenes_of(i, "train")}
    assert not seeds & {scene.seed for i in PEOPLE for scene in scenes_of(i, "validation")}


def test_one_pairs_differ_in_one_thing_only():
    for index in PEOPLE:
        for pair in pairs_of(index)[1][N_EVERYTHING : N_EVERYTHING + N_ONE]:
            a, b = pair.liked, pair.disliked
            changed = [f for f in FAMILIES if a.values.get(f) != b.values.get(f)]
            changed += ["look"] * (a.look != b.look) + [t for t in a.continuous if a.continuous[t] != b.continuous[t]]
            assert changed == [pair.factor]
            assert a.seed == b.seed
            assert len(a.values) == len(b.values)


def test_aspect_notes_limit_what_counts():
    for asked in asked_of("aspect", 2):
        text = text_of(asked)
        aspects = [a for a in ASPECT_FAMILIES if f"only the {a}" in text]
        assert len(aspects) == 1
        allowed = {v for f in ASPECT_FAMILIES[aspects[0]] for v in FAMILIES[f]}
        for branch in asked.pack.branches:
            if branch.kind in ("likes", "dislikes", "yes_no"):
                words = str(branch.answer).rstrip(".").replace("because of ", "").split(", ")
                assert set(words) - {"Yes", "No", "nothing in words"} <= allowed


def test_words_that_a_person_adds_are_told_and_answered():
    n_noted, n = 0, 0
    for asked in asked_of("own", 12):
        n += 1
        lines = [p for p in asked.pack.history if isinstance(p, str) and p.startswith(" I like ") and p.endswith(".")]
        if lines:
            n_noted += 1
            answer = next(str(b.answer) for b in asked.pack.branches if b.kind == "likes").rstrip(".").split(", ")
            assert set(lines[0].removeprefix(" I like ").rstrip(".").split(", ")) <= set(answer)
    assert 0.05 < n_noted / n < 0.35


def test_weights_and_ages_are_told():
    assert all(
        "very much" in text_of(a) or "hardly" in text_of(a) or "a little" in text_of(a) for a in asked_of("weighted")
    )
    assert any("long ago" in text_of(a) for a in asked_of("aged"))


def test_taste_without_words_is_never_named():
    texts = [text_of(asked) for kind in KIND_NAMES for asked in asked_of(kind, 1)]
    twins = [twins_at(i) for i in range(10)]
    packs = [picture_pack(numpy_rng(i), scenes[0], 0) for i, scenes in enumerate(twins)]
    packs += [twin_pack(numpy_rng(i), scenes, (0, 1, 2)) for i, scenes in enumerate(twins)]
    texts += [str(branch) for pack in packs for branch in pack.branches]
    for text in [*texts, *tokenizer_texts()]:
        assert not any(word in text for word in (*LOOKS, "look-", "warmth", "contrast", "density", "stroke"))


def test_without_a_history_nothing_is_known():
    asked = asked_of("none", 8)
    assert all(pictures_in(a.pack.history) == [] for a in asked)
    answers = Counter(str(b.answer) for a in asked for b in a.pack.branches)
    assert set(answers) == {"Yes.", "No."}
    assert not any(a.pairs for a in asked)


def test_twins_share_all_but_the_prompt_and_the_third_differs_in_one_thing():
    for i in range(30):
        first, twin, other = twins_at(i)
        assert (first.values, first.look, first.continuous) == (twin.values, twin.look, twin.continuous)
        assert first.subject != twin.subject == other.subject
        changes = sum(twin.values[f] != other.values[f] for f in twin.values) + (twin.look != other.look)
        assert changes + sum(twin.continuous[t] != other.continuous[t] for t in twin.continuous) == 1


def test_evaluation_asks_the_same_queries_of_every_history():
    packs = [evaluation_pack(1, "validation", c, n_people=6) for c in ("own", "other", "none")]
    assert len({tuple(b.question[0] for b in pack.branches) for pack in packs}) == 1
    assert pictures_in(packs[2].history) == []
    owners = [{key // N_PICTURES for key in pictures_in(pack.history)} for pack in packs[:2]]
    assert owners == [{1}, {4}]


def test_a_model_is_told_the_last_pictures_of_a_side_and_the_beginning_of_a_text():
    def item(k: int, side: str) -> HistoryItem:
        text = "so lively " * 60 if k == 149 else f"number {k}"
        return HistoryItem(image=Image.new("RGB", (2, 2)), side=side, comment=text, sha256=f"{side}{k}")  # type: ignore[arg-type]

    history = History(items=tuple(item(k, side) for k in range(150) for side in ("like", "dislike")))
    told = told_from(history)
    assert len(told) == 2 * MOST_TOLD
    assert [t.comment for t in told[:2]] == ["number 50", "number 50"]
    assert {t.side for t in told[:2]} == {"like", "dislike"}
    longest = told[-1].comment
    assert longest is not None
    assert len(longest) <= MOST_LETTERS
    assert longest.endswith(("so", "lively")), "whole words are kept"
    assert history.items[-1].comment == "so lively " * 60, "the history itself keeps every letter"
    few = History(items=history.items[:6])
    assert [t.comment for t in told_from(few)] == [i.comment for i in few.items]


def test_a_long_history_tells_its_newest_pictures_texts() -> None:
    picture = Image.new("RGB", (8, 8))
    items = tuple(
        HistoryItem(image=picture, side="like", prompt="p" * 250, comment="c" * 250, sha256=str(k)) for k in range(60)
    )
    told = told_from(History(items=items))
    spent = sum(len(text) for one in told for text in (one.prompt, one.comment) if text)
    assert MOST_LETTERS_IN_ALL - 250 < spent <= MOST_LETTERS_IN_ALL
    assert [one.comment is not None for one in told] == [False] * 36 + [True] * 24
    assert all(one.prompt is None for one in told)
    short = told_from(History(items=items[:3]))
    assert all(one.prompt and one.comment for one in short)
