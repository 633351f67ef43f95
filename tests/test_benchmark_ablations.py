"""Questions about our method: the contract of all of them, and each one's histories and figures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fake_judge import FakeJudge, planted, reading_of
from prefgen.agents import FAMILIES, SETTINGS, Scene
from prefgen.benchmark.ablations import QUESTIONS, Asking, Question, Sweep, Variant, bench_ablations
from prefgen.benchmark.ablations.asked_dislikes import Disobeying, asked_dislike
from prefgen.benchmark.ablations.asking import OURS, PROMPT, disliked_shown, figures_of
from prefgen.benchmark.ablations.curve_plot import curve_plot
from prefgen.benchmark.ablations.fixed_palette import in_one_palette, indifferent
from prefgen.benchmark.ablations.influence import own_words, shown_share
from prefgen.benchmark.ablations.page import LEGENDS, write_page
from prefgen.benchmark.ablations.parts import PartsOfPrefGen
from prefgen.benchmark.ablations.recency import SPAN_S, DatedPrefGen, earliest, everything
from prefgen.benchmark.ablations.semantics import in_liked_places, places_of, shelf_of_places
from prefgen.benchmark.ablations.shelves import contradicted, latest, mislabelled, truly, with_shelf
from prefgen.benchmark.ablations.subject_taste import shows_kind
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.methods.oracle import ruling_taste
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.population import N_SHOWN, members_of
from prefgen.benchmark.results import Row
from prefgen.benchmark.tasks import Case, cases_of
from prefgen.core import ConfigError
from prefgen.embedding import PARTS

CASES = cases_of(members_of("validation")[:8])


@pytest.fixture
def asking(model) -> Asking:
    """Two people of the file, two of every kind, one picture each, the tiny model and a judge without error."""
    bench = Bench(chain=model, sampling=Sampling(n_steps=1), baselines=Path("nowhere"))
    return Asking(bench=bench, judge=FakeJudge(), cases=tuple(CASES[:2]), n_of_kind=2, n_seeds=1)


def same(a: list[Row], b: list[Row]) -> bool:
    """Equal, n/a being equal to n/a."""
    return [r.to_json() for r in a] == [r.to_json() for r in b]


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
def test_every_question_answers_in_rows_that_say_whose_they_are(question: Question, asking: Asking) -> None:
    rows = question.measure(asking)
    assert rows
    assert len({(r.method, r.metric) for r in rows}) == len(rows)
    for r in rows:
        figure, at, name = r.metric.rpartition("@")
        assert (at, name) == ("@", question.name)
        assert figure in LEGENDS or figure.startswith(("above:", "not run here", "coverage", "diversity"))
        assert not math.isfinite(r.low) or r.low <= r.value <= r.high
    if question.places is not None:
        drawn = {r.method for r in rows if r.metric.startswith(("over_prompt@", "asked_shown@"))}
        assert drawn == set(question.places)
    assert same(rows, question.measure(replace(asking, _painted={})))


def test_variants_are_compared_person_by_person_with_their_reference(asking: Asking) -> None:
    class Paints:
        """The taste in full, or only the prompt."""

        name, needs, training_minutes_per_person = "planted", (), 0.0

        def __init__(self, *, whole: bool) -> None:
            self.whole = whole

        def paint(self, tasks):
            made = []
            for task in tasks:
                taste = ruling_taste(task)
                values = {f: v[0] for f, v in (taste.likes if self.whole else taste.dislikes).items()}
                made.append(planted(Scene(subject=task.subject, setting=task.setting, values=values, seed=task.seed)))
            return made

    question = Sweep(
        name="planted",
        title="?",
        variants=(
            Variant(label="liked", x=1, paints=lambda _: Paints(whole=True)),
            Variant(label="disliked", x=2, paints=lambda _: Paints(whole=False)),
        ),
        reference="disliked",
    )
    rows = {(r.method, r.metric): r for r in question.measure(asking)}
    assert rows["liked", "disliked_shown@planted"].value == 0
    assert rows["disliked", "disliked_shown@planted"].value > 0.2
    assert rows["liked", "above:disliked@planted"].low > 0.3
    assert ("disliked", "above:disliked@planted") not in rows
    assert question.places == {"liked": 1, "disliked": 2}


def labels(case: Case) -> tuple[int, int]:
    """How many likes and dislikes are shown."""
    return len([s for s in case.shelf.shown if s.liked]), len([s for s in case.shelf.shown if not s.liked])


@pytest.mark.parametrize("amounts", [(1, 0), (1, 1), (4, 4), (8, 8), (0, 8), (6, 2)])
def test_histories_of_any_size_hold_nothing_that_is_asked_for(amounts: tuple[int, int]) -> None:
    for case in CASES:
        changed = latest(*amounts)(case, "fox")
        assert labels(changed) == amounts
        known = {s.scene.subject for s in case.member.history()}
        assert {s.scene.subject for s in changed.shelf.shown} <= known
        if amounts == (4, 4):
            assert [s.scene for s in changed.shelf.shown] == [s.scene for s in case.shelf.shown]


@pytest.mark.parametrize("n", range(5))
def test_exactly_so_many_labels_are_wrong(n: int) -> None:
    for case in CASES:
        changed = mislabelled(n)(case, "fox")
        assert sum(s.liked != s.truly_liked for s in changed.shelf.shown) == n
        assert [s.scene for s in changed.shelf.shown] == [s.scene for s in truly(case)]
        assert [s.truly_liked for s in truly(case)].count(True) == N_SHOWN == len(truly(case)) / 2


def test_contradictions_are_likes_in_style_and_dislikes_by_label() -> None:
    def style(scene: Scene) -> tuple:
        return tuple(sorted(scene.values.items())), scene.look, tuple(sorted(scene.continuous.items()))

    for case in CASES:
        for n in (0, 2, 4):
            shown = contradicted(n)(case, "fox").shelf.shown
            liked = {style(s.scene) for s in shown if s.liked}
            disliked = [s.scene for s in shown if not s.liked]
            assert (len(shown), len(disliked)) == (8, 4)
            assert sum(style(scene) in liked for scene in disliked) == n
            assert [s.scene.subject for s in shown] == [s.scene.subject for s in truly(case)]


def test_dates_reach_the_profile_and_early_and_late_pictures_differ(model, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(c for c in CASES if c.person.kind == "drifting")
    case = with_shelf(everything)(case, "fox")
    given = []
    real = type(model).profile
    monkeypatch.setattr(type(model), "profile", lambda self, **k: given.append(k["history"]) or real(self, **k))
    DatedPrefGen(Bench(chain=model, sampling=Sampling(), baselines=Path())).tokens(case.shelf)
    times = {item.time_s for item in given[0].items}
    assert max(times) == pytest.approx(SPAN_S * max(s.time for s in case.shelf.shown))
    assert {s.time for s in earliest(case)} < {s.time for s in everything(case)}
    truth = sorted(s.time for s in case.shelf.shown if s.liked)
    assert sorted(item.time_s / SPAN_S for item in given[0].liked) == pytest.approx(truth)


def test_people_made_up_are_of_their_kind_and_the_same_again(asking: Asking) -> None:
    for kind in ("two_mode", "drifting", "subject_dependent", "plain"):
        people = asking.people_of_kind(kind)
        assert {c.person.kind for c in people} == {kind}
        assert [c.person for c in people] == [c.person for c in asking.people_of_kind(kind)]
        assert not {c.person.id for c in people} & {m.person.id for m in members_of("validation")}


def test_pictures_of_one_kind_of_subject(asking: Asking) -> None:
    from prefgen.agents.people import LIVING

    case = asking.people_of_kind("subject_dependent")[0]
    for subject in ("fox", "house"):
        living = {s.scene.subject in LIVING for s in shows_kind(same=True)(case, subject).shelf.shown}
        other = {s.scene.subject in LIVING for s in shows_kind(same=False)(case, subject).shelf.shown}
        assert living == {subject in LIVING}
        assert other == {subject not in LIVING}


def test_one_palette_in_all_and_no_opinion_on_it() -> None:
    for case in CASES:
        changed = in_one_palette(case, "fox")
        assert len({s.scene.values["palette"] for s in changed.shelf.shown}) == 1
        assert changed.person == indifferent(case, "fox").person
        assert all("palette" not in t.families() for t in changed.person.tastes)
        rest = [{f: v for f, v in s.scene.values.items() if f != "palette"} for s in changed.shelf.shown]
        assert rest == [{f: v for f, v in s.scene.values.items() if f != "palette"} for s in case.shelf.shown]


def test_places_alone_tell_likes_from_dislikes() -> None:
    for case in CASES:
        shelf = shelf_of_places(case, "fox")
        liked, disliked = places_of(case)
        assert {s.scene.setting for s in shelf.shown if s.liked} == set(liked)
        assert {s.scene.setting for s in shelf.shown if not s.liked} == set(disliked)
        assert len({tuple(sorted(s.scene.values.items())) for s in shelf.shown}) == 1
        assert "fox" not in {s.scene.subject for s in shelf.shown}
        assert not set(liked) & set(disliked)
        assert set(liked) | set(disliked) <= set(SETTINGS)


def test_a_liked_place_counts_one_and_a_disliked_one_counts_against(asking: Asking) -> None:
    tasks = asking.tasks(asking.cases)
    liked = [Scene(subject=t.subject, setting=places_of(t.case)[0][0]) for t in tasks]
    disliked = [Scene(subject=t.subject, setting=places_of(t.case)[1][1]) for t in tasks]
    assert in_liked_places(reading_of(*liked), tasks).tolist() == [1.0] * len(tasks)
    assert in_liked_places(reading_of(*disliked), tasks).tolist() == [-1.0] * len(tasks)


def test_words_of_one_picture_alone() -> None:
    case = CASES[0]
    for place, shown in enumerate(case.shelf.shown):
        words = own_words(case.shelf.shown, place)
        assert words.items() <= shown.scene.values.items()
        for other, theirs in enumerate(case.shelf.shown):
            if other != place and theirs.liked == shown.liked:
                assert not words.items() & theirs.scene.values.items()
    gold, teal = (Scene(subject="fox", values={"palette": v}) for v in ("gold", "teal"))
    assert shown_share(reading_of(gold, teal), {"palette": "gold"}).tolist() == [1.0, 0.0]
    assert np.isnan(shown_share(reading_of(gold), {})).all()


def test_disliked_words_are_those_of_the_ruling_taste(asking: Asking) -> None:
    tasks = asking.tasks(CASES)
    family = {t.case.user: next(iter(ruling_taste(t).dislikes)) for t in tasks}
    scenes = [
        Scene(subject=t.subject, values={family[t.case.user]: ruling_taste(t).dislikes[family[t.case.user]][0]})
        for t in tasks
    ]
    pictures = {OURS: np.stack([planted(s) for s in scenes]), PROMPT: np.stack([planted(s) for s in scenes])}
    results = asking.results(CASES, tasks, pictures)
    for task, value in zip(tasks, disliked_shown(results), strict=True):
        assert value == pytest.approx(1 / len(ruling_taste(task).dislikes))
    by_name = {r.metric: r for r in figures_of(results)}
    assert by_name["over_prompt"].value == 0
    assert by_name["subject_accuracy_of_prompt"].value == 1


def test_parts_left_out_change_the_tokens_and_all_of_them_are_what_the_model_says(model) -> None:
    bench = Bench(chain=model, sampling=Sampling(), baselines=Path())
    shelf = CASES[0].shelf
    whole = PrefGenMethod(bench).tokens(shelf)
    heard = PartsOfPrefGen(bench, PARTS).tokens(shelf)
    assert torch.equal(heard.like, whole.like)
    assert torch.equal(heard.dislike, whole.dislike)
    for part in PARTS:
        fewer = PartsOfPrefGen(bench, tuple(p for p in PARTS if p != part)).tokens(shelf)
        assert not torch.equal(fewer.like[0], whole.like[0])
    assert len(PartsOfPrefGen(bench, ("sem", "core")).tokens(shelf).like) == 1


def test_a_prompt_that_disobeys_names_what_a_disliked_picture_shows(asking: Asking) -> None:
    asked = [(task, found) for task in asking.tasks(asking.cases) if (found := asked_dislike(task)) is not None]
    assert asked
    for task, (family, value) in asked:
        assert value in ruling_taste(task).dislikes[family]
        assert any(s.scene.values.get(family) == value for s in task.case.shelf.shown if not s.liked)
        assert value in Disobeying(asking.bench, dislikes=1.0, likes=0.0).prompt(task)


def test_curves_show_every_finite_figure_in_its_place() -> None:
    rows = [Row(method=f"{x}", metric="m", value=x / 10, low=x / 10 - 0.1, high=x / 10 + 0.1, n=3) for x in (2, 1, 4)]
    drawn = curve_plot({"rising": rows, "never": [replace(rows[0], value=math.nan)]}, {"1": 1, "2": 2, "4": 4})
    assert drawn.count("<polyline") == 1
    assert drawn.count("<circle") == 3
    points = drawn.split('<polyline points="')[1].split('"')[0].split()
    xs, ys = zip(*[tuple(map(float, p.split(","))) for p in points])
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys, reverse=True)
    assert curve_plot({"never": [replace(rows[0], value=math.nan)]}, {"2": 2}) == ""


def test_the_page_holds_a_plot_for_each_question_and_no_link(asking: Asking, tmp_path: Path) -> None:
    asked = [QUESTIONS["noise"], QUESTIONS["influence"]]
    rows = [r for question in asked for r in question.measure(asking)]
    facts = {"n_users": 2, "commit": "abc", "weights_sha256": "def", "command": "prefgen bench <&>"}
    write_page(tmp_path / "a.html", asked, rows, facts)
    page = (tmp_path / "a.html").read_text()
    assert all(question.title in page for question in asked)
    assert page.count("<svg") >= 2
    assert "&lt;&amp;&gt;" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_an_unknown_question_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="noize") as raised:
        bench_ablations(methods=["noize"])
    assert "noise" in str(raised.value.hint)


def test_values_of_the_vocabulary_are_all_that_is_ever_fixed() -> None:
    assert {s.scene.values["palette"] for c in CASES for s in in_one_palette(c, "fox").shelf.shown} <= set(
        FAMILIES["palette"]
    )


def test_rows_are_plain_json(asking: Asking) -> None:
    assert json.dumps([r.to_json() for r in QUESTIONS["unseen_clusters"].measure(asking)])
