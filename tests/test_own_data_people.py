"""People of a folder as conversations: nothing asked about is told, and labels go where their pictures go."""

from __future__ import annotations

import numpy as np
import pytest

from prefgen.mllm import pictures_in
from prefgen.recipes.own_data.conversations import examined, own_conversation
from prefgen.recipes.own_data.judging import held_temperature, held_weights, losses_of, which_of_two, yes_or_no
from prefgen.recipes.own_data.people import (
    MOST_OPINIONS,
    Opinion,
    OwnPerson,
    from_json,
    items_of,
    painting_case,
    questions_for,
    to_json,
)
from tiny_own_data import some_person

PEOPLE = [some_person(6), some_person(3, unprompted=5), some_person(0, unprompted=7), some_person(4, twice=True)]
BY_NAME = pytest.mark.parametrize("person", PEOPLE, ids=lambda p: p.user_id)


def by_key(person: OwnPerson) -> dict[int, Opinion]:
    return {o.key: o for o in person.opinions}


@BY_NAME
def test_a_question_shares_neither_picture_nor_prompt_with_its_history(person: OwnPerson) -> None:
    assert person.can_be_asked
    known = by_key(person)
    for seed in range(60):
        asked = own_conversation(np.random.default_rng(seed), person, 0, 8)
        told = [known[key] for key in pictures_in(asked.pack.history)]
        questions = [known[key] for b in asked.pack.branches for key in pictures_in(b.question)]
        assert told
        assert questions
        assert not {o.group for o in told} & {o.group for o in questions}
        assert not {o.sha256 for o in told} & {o.sha256 for o in questions}


@BY_NAME
def test_labels_go_where_their_pictures_go(person: OwnPerson) -> None:
    known = by_key(person)
    answers: dict[str, set[str]] = {"yes_no": set(), "choice": set()}
    orders = set()
    for seed in range(60):
        asked = own_conversation(np.random.default_rng(seed), person, 0, 8)
        told = [known[key] for key in pictures_in(asked.pack.history)]
        assert [o.side for o in told] == list(asked.sides)
        orders.add(tuple(o.key for o in told))
        for before, picture in zip(asked.pack.history, asked.pack.history[1:]):
            if not isinstance(picture, str):
                assert (" I dislike" in before) == (known[picture].side == "dislike")
        for branch in asked.pack.branches:
            sides = [known[key].side for key in pictures_in(branch.question)]
            right = ["Yes.", "No."] if branch.kind == "yes_no" else ["First.", "Second."]
            assert branch.answer == right[sides[0] != "like"]
            assert len(set(sides)) == len(sides)
            answers[branch.kind].add(str(branch.answer))
        for good, bad in asked.pairs:
            assert asked.pack.branches[good].answer == "Yes."
            assert asked.pack.branches[bad].answer == "No."
    assert answers == {"yes_no": {"Yes.", "No."}, "choice": {"First.", "Second."}}
    assert len(orders) > 20


@BY_NAME
def test_what_is_painted_shares_neither_picture_nor_prompt_with_what_is_heard(person: OwnPerson) -> None:
    assert person.can_be_painted_for
    for seed in range(60):
        case = painting_case(np.random.default_rng(seed), person, 8)
        assert case.targets[0].side == "like"
        assert any(o.side == "like" for o in case.history)
        assert {t.side for t in case.targets} <= {o.side for o in case.history}
        for what in ("group", "sha256", "key"):
            assert not {getattr(o, what) for o in case.history} & {getattr(t, what) for t in case.targets}


def test_who_has_nothing_left_to_tell_cannot_be_asked() -> None:
    assert not some_person(1).can_be_asked
    assert not some_person(1).can_be_painted_for
    assert not some_person(0, unprompted=2).can_be_asked
    likes = OwnPerson(user_id="x", opinions=tuple(o for o in some_person(3).opinions if o.side == "like"))
    assert not likes.can_be_asked
    assert likes.can_be_painted_for


def test_an_examination_is_always_the_same_and_in_order() -> None:
    one, again = examined(PEOPLE[0]), examined(PEOPLE[0])
    assert one == again
    assert [o.key for o in one.history] == sorted(o.key for o in one.history)
    assert all(good.side == "like" and bad.side == "dislike" and good.group == bad.group for good, bad in one.pairs)
    assert questions_for(np.random.default_rng(0), PEOPLE[0])[0]


def test_a_person_returns_from_the_cache() -> None:
    assert from_json(to_json(PEOPLE[3])) == PEOPLE[3]


def test_of_many_opinions_the_last_are_learned_from() -> None:
    from prefgen.core import History, HistoryItem
    from tiny_mllm import noise

    items = tuple(HistoryItem(image=noise(0), sha256=str(k), side="like") for k in range(MOST_OPINIONS + 5))
    kept = items_of(History(items=items), [items[0]])
    assert [item.sha256 for item in kept] == [str(k) for k in range(5, MOST_OPINIONS + 5)]


def test_figures_of_known_answers() -> None:
    right, wrong, unsure = np.array([2.0, -2.0]), np.array([-2.0, 2.0]), np.zeros(2)
    likes = [np.array([True, False])] * 3
    assert which_of_two([right, wrong, unsure]).tolist() == [1.0, 0.0, 0.5]
    assert yes_or_no([right, wrong, unsure], likes).tolist() == [1.0, 0.0, 0.5]
    lost = losses_of([right, wrong, unsure], likes)
    assert lost[0] < lost[2] < lost[1]
    assert lost[2] == pytest.approx(2 * np.log(2))


def test_few_people_move_the_calibration_little_and_many_all_the_way() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 4000)
    labels = rng.random(4000) < 1 / (1 + np.exp(-true))
    few, many = (held_temperature(3 * true[:n], labels[:n], 1.0) for n in (4, 4000))
    assert 0.7 < few < 1.5
    assert many == pytest.approx(3.0, rel=0.1)
    columns = np.stack([true / 2, rng.normal(0, 1, 4000)], 1)
    start = np.array([1.0, 0.5])
    assert np.abs(held_weights(columns[:2], labels[:2], start) - start).max() < 0.7
    np.testing.assert_allclose(held_weights(columns, labels, start), [2.0, 0.0], atol=0.2)
