"""What a study's folder holds, that sides are drawn evenly and told nowhere but in the key, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from prefgen.benchmark.kept import kept_methods, read_kept
from prefgen.benchmark.population import members_of
from prefgen.benchmark.store import PictureStore
from prefgen.benchmark.tasks import Task, cases_of, tasks_of
from prefgen.core import DataError, History, HistoryItem, InputError
from prefgen.study import make_study, pairs_of, read_key, read_study
from prefgen.study.records import KEY, PICTURES, STUDY
from small_study import new_study, pairs, picture


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench run of two people and two methods that paint plain greys."""
    folder = tmp_path_factory.mktemp("bench")
    tasks = tasks_of(cases_of(members_of("validation")[:2]), n_prompts=2, n_seeds=1, seed=3)
    keep_painted(folder, "prefgen", tasks, 200)
    keep_painted(folder, "prompt", tasks, 20)
    return folder


def keep_painted(folder: Path, name: str, tasks: list[Task], grey: int, key: str = "0123456789ab") -> None:
    def paint(asked: list[Task]) -> list[np.ndarray]:
        return [np.full((64, 64, 3), grey + tasks.index(task), np.uint8) for task in asked]

    PictureStore(folder=folder / "pictures").painted(name, key, tasks, paint)


def pixels(folder: Path, name: str) -> np.ndarray:
    with Image.open(folder / PICTURES / name) as image:
        assert image.info == {}, "no metadata that gives a side away"
        return np.asarray(image)


def test_the_key_tells_every_side_and_nothing_else_does(tmp_path: Path) -> None:
    study, key = new_study(tmp_path / "s", n=13)
    given = pairs(13)
    by_source = {pair.source: pair for pair in given.pairs}
    asked = {q.id: (q, key.questions[q.id]) for q in study.questions}
    kinds = [truth.kind for _, truth in asked.values()]
    assert (kinds.count("pair"), kinds.count("check")) == (13, 2)
    assert (key.a, key.b, key.seed) == ("secret-alpha", "secret-beta", 0)
    for question, truth in asked.values():
        shown = {"left": question.left, "right": question.right}
        if truth.kind == "pair":
            pair = by_source[truth.source]
            assert (pair.prompt, pair.person) == (question.prompt, truth.unit)
            assert np.array_equal(pixels(tmp_path / "s", shown.pop(truth.side)), np.asarray(pair.a))
            assert np.array_equal(pixels(tmp_path / "s", *shown.values()), np.asarray(pair.b))
    told = (tmp_path / "s" / STUDY).read_text()
    assert not any(word in told for word in ("secret", "alpha", "source", "of-the-run", "check", "seed"))
    assert (tmp_path / "s" / KEY).stat().st_mode & 0o077 == 0
    assert read_study(tmp_path / "s") == study


def test_sides_are_even_and_the_seed_decides_them(tmp_path: Path) -> None:
    def sides(name: str, seed: int | None) -> list[str]:
        study = make_study(pairs(20), tmp_path / name, seed=seed)
        return [asked.side for asked in read_key(tmp_path / name, study).questions.values() if asked.kind == "pair"]

    assert sides("one", 1).count("left") == 10
    assert sides("again", 1) == sides("once more", 1) != sides("another", 2)
    files = [[p.read_bytes() for p in sorted((tmp_path / name).rglob("*.*"))] for name in ("one", "again")]
    assert files[0] == files[1]
    assert sides("drawn", None) != sides("drawn too", None), "nobody can guess a seed that nobody gave"


def test_checks_are_of_the_history_that_is_shown_or_else_of_shuffled_pixels(tmp_path: Path) -> None:
    study, key = new_study(tmp_path / "people", n_checks=3)
    checks = [(q, key.questions[q.id]) for q in study.questions if key.questions[q.id].kind == "check"]
    assert len({q.block for q, _ in checks}) == 3, "one check a block"
    for question, truth in checks:
        right, wrong = (question.left, question.right)[:: 1 if truth.side == "left" else -1]
        shown = study.people[str(question.person)]
        assert study.pictures[right] in {study.pictures[name] for name in shown.liked}
        assert study.pictures[wrong] in {study.pictures[name] for name in shown.disliked}
    study, key = new_study(tmp_path / "nobody", n_people=0)
    assert study.people == {}
    for question in (q for q in study.questions if key.questions[q.id].kind == "check"):
        left, right = (pixels(tmp_path / "nobody", name).reshape(-1, 3) for name in (question.left, question.right))
        assert not np.array_equal(left, right)
        assert sorted(map(tuple, left.tolist())) == sorted(map(tuple, right.tolist()))


def test_questions_are_spread_over_people(tmp_path: Path) -> None:
    study = make_study(pairs(30), tmp_path / "s", n_questions=6, n_checks=0, seed=5)
    people = [q.person for q in study.questions]
    assert sorted(people.count(p) for p in set(people)) == [2, 2, 2]


def test_two_methods_of_a_run_are_paired_with_their_histories(run: Path, tmp_path: Path) -> None:
    assert kept_methods(run) == ["prefgen-0123456789ab", "prompt-0123456789ab"]
    found = pairs_of(f"{run}:prefgen", f"{run}:prompt")
    assert (found.a, found.b, len(found.pairs)) == ("prefgen", "prompt", 4)
    assert [int(np.asarray(p.a)[0, 0, 0]) - int(np.asarray(p.b)[0, 0, 0]) for p in found.pairs] == [180] * 4
    case = cases_of(members_of("validation")[:2])[0]
    tasks = tasks_of([case], n_prompts=2, n_seeds=1, seed=3)
    assert [p.prompt for p in found.pairs[:2]] == [t.prompt for t in tasks]
    kept = read_kept(run, "prompt").histories[case.person.id]
    assert [np.asarray(p).tolist() for p in case.shelf.liked] == kept.liked.tolist()
    assert len(kept.disliked) == len(case.shelf.disliked) > 0
    study = make_study(found, tmp_path / "s", n_checks=2)
    assert {len(shown.liked) for shown in study.people.values()} == {len(kept.liked)}


def test_a_run_of_earlier_versions_and_unknown_methods_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected one of prefgen-.*'promp'") as refused:
        pairs_of(f"{run}:prefgen", f"{run}:promp")
    assert "'prompt'" in str(refused.value.hint)
    with pytest.raises(InputError, match="RUN:METHOD") as refused:
        pairs_of(str(run), f"{run}:prompt")
    assert f"{run}:prefgen" in str(refused.value.hint)
    (tmp_path / "pictures" / "prompt-0123456789ab").mkdir(parents=True)
    with pytest.raises(InputError, match=r"got a folder without pictures/\*/tasks.json"):
        pairs_of(f"{tmp_path}:prompt", f"{run}:prompt")
    with pytest.raises(InputError, match="twice"):
        pairs_of(f"{run}:prompt", f"{run}:prompt")


def test_a_damaged_run_is_told_of(tmp_path: Path) -> None:
    tasks = tasks_of(cases_of(members_of("validation")[:2]), n_prompts=1, n_seeds=1)
    keep_painted(tmp_path, "prompt", tasks, 1)
    keep_painted(tmp_path, "prompt", tasks, 9, key="ba9876543210")
    with pytest.raises(InputError, match="got 'prompt'"):
        read_kept(tmp_path, "prompt")
    folder = tmp_path / "pictures" / "prompt-ba9876543210"
    assert len(read_kept(tmp_path, folder.name).pictures) == 2
    next(folder.glob("*.npy")).unlink()
    assert len(read_kept(tmp_path, folder.name).pictures) == 1, "who was not finished is left out"
    np.save(next(folder.glob("*.npy")), np.zeros((3, 2)))
    with pytest.raises(DataError, match="bench run"):
        read_kept(tmp_path, folder.name)


def folder_of(path: Path, size_px: int, n: int, told: dict[str, str]) -> Path:
    path.mkdir(parents=True)
    info = PngImagePlugin.PngInfo()
    for name, text in told.items():
        info.add_text(name, text)
    for i in range(n):
        Image.new("RGB", (size_px, size_px), (i, 9, 9)).save(path / f"{i}.png", pnginfo=info)
    return path


def test_two_folders_are_paired_by_name(tmp_path: Path) -> None:
    told = {"prompt": "a fox by a lake", "profile": "tells the side"}
    a, b = folder_of(tmp_path / "one" / "ours", 8, 3, told), folder_of(tmp_path / "two" / "ours", 8, 2, told)
    found = pairs_of(str(a), str(b))
    assert (found.a, found.b) == ("one/ours", "two/ours")
    assert [(p.source, p.prompt, p.person) for p in found.pairs] == [
        ("0.png", "a fox by a lake", None),
        ("1.png", "a fox by a lake", None),
    ]
    study = make_study(found, tmp_path / "s", n_checks=1)
    assert not any(b"tells the side" in p.read_bytes() for p in (tmp_path / "s").rglob("*.*"))
    assert "what was asked for" in study.ask
    me = History(items=(HistoryItem(image=picture(7), side="like"),))
    study = make_study(pairs_of(str(a), str(b), me), tmp_path / "mine", ask="Which would she hang up?", n_checks=1)
    assert (len(study.people["1"].liked), study.people["1"].disliked) == (1, ())
    assert study.ask == "Which would she hang up?"


def test_pairs_that_cannot_be_blind_or_be_paired_are_refused(run: Path, tmp_path: Path) -> None:
    a, b = folder_of(tmp_path / "a", 8, 1, {}), folder_of(tmp_path / "b", 9, 1, {})
    with pytest.raises(DataError, match="one size"):
        pairs_of(str(a), str(b))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="equal names"):
        pairs_of(str(a), str(tmp_path / "empty"))
    with pytest.raises(InputError, match="two runs or two folders"):
        pairs_of(str(a), f"{run}:prompt")
    with pytest.raises(InputError, match="no history"):
        pairs_of(f"{run}:prefgen", f"{run}:prompt", History(items=(HistoryItem(image=picture(7), side="like"),)))


def test_a_study_never_replaces_another_and_numbers_are_checked(tmp_path: Path) -> None:
    new_study(tmp_path / "s")
    with pytest.raises(InputError, match="new folder"):
        new_study(tmp_path / "s")
    for wrong in ({"n_questions": 0}, {"n_checks": -1}, {"ask": "  "}, {"ask": "?" * 301}):
        with pytest.raises(InputError, match="expected"):
            make_study(pairs(), tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"ask": "another"},
        {"format": 2},
        {"questions": []},
        {"pictures": {"../key.json": "0"}},
        {"people": None},
        {"id": 7},
    ],
)
def test_a_changed_study_is_refused(tmp_path: Path, change: dict) -> None:
    new_study(tmp_path / "s")
    path = tmp_path / "s" / STUDY
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match="expected"):
        read_study(tmp_path / "s")


def test_a_changed_picture_and_another_studys_key_are_refused(tmp_path: Path) -> None:
    study, _ = new_study(tmp_path / "s")
    new_study(tmp_path / "t", n=11)
    (tmp_path / "s" / KEY).write_text((tmp_path / "t" / KEY).read_text())
    with pytest.raises(DataError, match="key of study"):
        read_key(tmp_path / "s", study)
    (tmp_path / "s" / PICTURES / study.questions[0].left).write_bytes(b"another")
    with pytest.raises(DataError, match="as it was made"):
        read_study(tmp_path / "s")
    with pytest.raises(DataError, match=r"study\.json"):
        read_study(tmp_path)


def test_the_command_makes_a_study(cli, run: Path, tmp_path: Path) -> None:
    made = ("study", "make", "--a", f"{run}:prefgen", "--b", f"{run}:prompt", "-o", tmp_path / "s", "-n", 3, "--json")
    status, out, err = cli(*made)
    data = json.loads(out)
    assert (status, data["a"], data["b"], data["n_questions"]) == (0, "prefgen", "prompt", 5)
    assert "key.json" in err
    status, out, err = cli(*made)
    assert (status, out) == (2, "")
    assert err.startswith("error: expected a new folder")
