"""The committed people, and the tasks made of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from prefgen.agents import RESERVED_SUBJECTS, is_reserved
from prefgen.benchmark.population import (
    POPULATION_PATH,
    make_population,
    members_of,
    mirrored_share,
    population_from_json,
    population_to_json,
    written,
)
from prefgen.benchmark.tasks import cases_of, subjects_for, tasks_of
from prefgen.core import DataError


def test_the_committed_file_is_what_its_maker_makes() -> None:
    made = make_population()
    assert written(made) == POPULATION_PATH.read_text()
    assert population_from_json(population_to_json(made)) == made
    with pytest.raises(DataError, match="expected a population"):
        population_from_json({"test": []})


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_share_is_exact(split: str) -> None:
    members = members_of(split)  # type: ignore[arg-type]
    kinds = Counter(m.person.kind for m in members)
    assert kinds == {"two_mode": 29, "drifting": 19, "subject_dependent": 10, "plain": 38}
    assert sum(m.unseen_cluster for m in members) == (29 if split == "test" else 0)
    assert mirrored_share(members) <= 0.3
    histories = [m.history() for m in members]
    n_labels = sum(map(len, histories))
    assert sum(s.liked != s.truly_liked for h in histories for s in h) == round(n_labels / 10)
    assert all(8 <= m.person.n_likes <= 14 and 4 <= m.person.n_dislikes <= 10 for m in members)
    assert not any(m.person.id.startswith(("train-", "validation-")) for m in members)


def test_any_first_part_of_the_list_has_about_the_shares_of_the_whole() -> None:
    kinds = Counter(m.person.kind for m in members_of("test")[:48])
    assert kinds == {"plain": 19, "two_mode": 14, "drifting": 10, "subject_dependent": 5}
    assert 13 <= sum(m.unseen_cluster for m in members_of("test")[:48]) <= 16


def test_splits_share_nobody_and_no_painter_seed() -> None:
    ids = {s: {m.person.id for m in members_of(s)} for s in ("validation", "test")}
    assert not ids["validation"] & ids["test"]
    classes = {s: {i.scene.seed % 8 for m in members_of(s)[:4] for i in m.history()} for s in ("validation", "test")}
    assert len(classes["validation"]) == len(classes["test"]) == 1
    assert classes["validation"] != classes["test"]


def test_a_shelf_holds_the_latest_four_of_each_label() -> None:
    for case in cases_of(members_of("test")[:12]):
        shown, history = case.shelf.shown, case.member.history()
        assert [sum(s.liked == side for s in shown) for side in (True, False)] == [4, 4]
        for side in (True, False):
            labelled = [s for s in history if s.liked == side]
            assert [s for s in shown if s.liked == side] == labelled[-4:]
        assert case.stranger.owner != case.shelf.owner


def test_labels_as_they_were_meant_have_no_slips() -> None:
    shelves = [case.shelf for case in cases_of(members_of("validation")[:20])]
    slips = [shown for shelf in shelves for shown in shelf.shown if shown.liked != shown.truly_liked]
    assert slips
    for shelf in shelves:
        meant = shelf.as_meant()
        assert [shown.scene for shown in meant.shown] == [shown.scene for shown in shelf.shown]
        assert all(shown.liked == shown.truly_liked for shown in meant.shown)


def test_prompts_are_not_in_the_history_and_reserved_ones_are_apart() -> None:
    cases = cases_of(members_of("test")[:12])
    tasks = tasks_of(cases, n_prompts=3, n_seeds=2, n_reserved=1, seed=0)
    assert len({t.seed for t in tasks}) == len(tasks)
    for task in tasks:
        assert task.subject not in {s.scene.subject for s in task.case.member.history()}
        liked = {v for t in task.case.person.current_tastes() for vs in t.likes.values() for v in vs}
        paired = any(is_reserved(task.subject, v) for v in liked)
        if task.kind == "ordinary":
            assert task.subject not in RESERVED_SUBJECTS
            assert not paired
        else:
            assert task.subject in RESERVED_SUBJECTS if task.kind == "reserved_subject" else paired
    assert Counter(t.kind for t in tasks) == {"ordinary": 72, "reserved_subject": 12, "reserved_pair": 12}


def test_every_test_person_has_prompts_of_every_kind() -> None:
    cases = cases_of(members_of("test"))
    assert min(len(subjects_for(c, "ordinary")) for c in cases) >= 4
    assert min(len(subjects_for(c, "reserved_subject")) for c in cases) == 6
    again = tasks_of(cases[:2], n_prompts=2, n_seeds=1)
    first = tasks_of(cases, n_prompts=2, n_seeds=1)[: len(again)]
    assert np.array_equal([t.seed for t in again], [t.seed for t in first])
