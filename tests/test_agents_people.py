"""Simulated people: reproducible, split cleanly, as unruly as their dials say, and true to their tastes."""

import numpy as np

from prefgen.agents import FAMILIES, LOOKS, SUBJECTS, attribute_string, history_of, training_person
from prefgen.agents.people import FIRST_UNSEEN_CLUSTER, Dials, from_json, new_person, opposite, rendering, to_json
from prefgen.agents.scene import SEED_CLASSES, caption_of, is_reserved, prompt_of, random_scene
from prefgen.core import numpy_rng

PEOPLE = [training_person(i) for i in range(300)]


def test_a_person_is_a_pure_function_and_survives_json() -> None:
    assert training_person(3) == training_person(3)
    assert training_person(3) != training_person(4)
    assert from_json(to_json(PEOPLE[3])) == PEOPLE[3]


def test_training_people_come_from_seen_clusters_only() -> None:
    assert max(p.cluster for p in PEOPLE) < FIRST_UNSEEN_CLUSTER


def test_kinds_follow_the_dials() -> None:
    share = {kind: np.mean([p.kind == kind for p in PEOPLE]) for kind in ("two_mode", "drifting", "subject_dependent")}
    assert abs(share["two_mode"] - 0.3) < 0.08
    assert abs(share["drifting"] - 0.2) < 0.07
    assert abs(share["subject_dependent"] - 0.1) < 0.06
    plain = Dials(two_mode=0, drifting=0, subject_dependent=0)
    assert {new_person(f"x{i}", 0, plain).kind for i in range(30)} == {"plain"}


def test_dislikes_are_rarely_the_mirror_of_likes() -> None:
    mirrored = total = 0
    for taste in (t for p in PEOPLE for t in p.tastes):
        for family, values in taste.dislikes.items():
            total += len(values)
            mirrored += sum(v == opposite(family, liked) for v in values for liked in taste.likes.get(family, ()))
            assert not set(values) & set(taste.likes.get(family, ()))
    assert 0.02 < mirrored / total <= 0.3


def test_a_third_of_every_taste_has_no_word() -> None:
    for taste in (t for p in PEOPLE for t in p.tastes):
        wordless = len(taste.traits) + bool(taste.looks_liked or taste.looks_disliked)
        assert 0.25 <= wordless / (wordless + len(taste.likes)) <= 0.45


def test_histories_hold_pairs_of_one_prompt_and_flip_one_label_in_ten() -> None:
    flips = []
    for person in PEOPLE[:80]:
        history = history_of(person, seed_class="train")
        flips += [s.liked != s.truly_liked for s in history]
        assert person.n_likes + person.n_dislikes == len(history)
        by_prompt: dict[str, list[bool]] = {}
        for shown in history:
            by_prompt.setdefault(prompt_of(shown.scene), []).append(shown.truly_liked)
        assert all(sorted(sides) in ([False], [True], [False, True]) for sides in by_prompt.values())
        assert [s.time for s in history] == sorted(s.time for s in history)
    assert 0.07 < np.mean(flips) < 0.13


def test_drifting_people_change_at_their_turn_and_two_mode_people_have_both() -> None:
    drifting = next(p for p in PEOPLE if p.kind == "drifting")
    assert drifting.taste_for("fox", drifting.turn - 0.01) is drifting.tastes[0]
    assert drifting.taste_for("fox", drifting.turn) is drifting.tastes[1]
    assert drifting.current_tastes() == drifting.tastes[1:]
    double = next(p for p in PEOPLE if p.kind == "two_mode")
    assert {s.mode for s in history_of(double, seed_class="train")} == {0, 1}
    dependent = next(p for p in PEOPLE if p.kind == "subject_dependent")
    assert dependent.taste_for("fox") is not dependent.taste_for("car")


def test_renderings_show_the_side_they_should() -> None:
    taste = PEOPLE[0].tastes[0]
    for liked in (True, False):
        opinions, others = (taste.likes, taste.dislikes) if liked else (taste.dislikes, taste.likes)
        scenes = [
            rendering(numpy_rng(liked, i), taste, "cat", None, liked=liked, seed_class="train") for i in range(60)
        ]
        for family, values in opinions.items():
            assert np.mean([s.values.get(family) in values for s in scenes]) > 0.55
        assert not any(s.values.get(f) in v for s in scenes for f, v in others.items() if f not in opinions)


def test_no_training_picture_shows_a_reserved_pair_and_seed_classes_are_disjoint() -> None:
    reserved = [(s, v) for s in SUBJECTS for values in FAMILIES.values() for v in values if is_reserved(s, v)]
    assert 40 < len(reserved) < 140
    for i, seed_class in enumerate(SEED_CLASSES):
        scenes = [random_scene(numpy_rng(i, k), seed_class=seed_class) for k in range(100)]
        assert all(s.seed % 8 == i for s in scenes)
        assert not any(is_reserved(s.subject, v) for s in scenes for v in s.values.values())


def test_no_text_names_a_look_or_a_trait() -> None:
    for i in range(200):
        text = caption_of(random_scene(numpy_rng("text", i), seed_class="other")) + attribute_string(PEOPLE[i])
        assert not any(look in text for look in LOOKS)
        assert "warmth" not in text
