"""The contract of every method, and what each of them tells the generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from fake_judge import FakeChain, FakeJudge
from prefgen.agents import FAMILIES, Scene, Shown
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import METHODS, NEEDS, BaselineAdapter, Bench, Method, NotRun
from prefgen.benchmark.methods.oracle import OracleMethod, ruling_taste
from prefgen.benchmark.methods.oracle_history import told_by_history
from prefgen.benchmark.methods.painter import painter_scene
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.population import members_of
from prefgen.benchmark.tasks import Shelf, Task, cases_of, tasks_of
from prefgen.benchmark.tuning import SWEEPS, SweepPoint, best_point, record, tune, tuned_parameters
from prefgen.core import InputError, ModelError
from tiny_baselines import save_baseline, save_baselines
from tiny_diffusion import D_CROSS, N_TOKENS


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A tiny chain with the rivals' weights in place."""
    folder, chain = tmp_path_factory.mktemp("baselines"), FakeChain()
    save_baselines(folder, chain)
    return Bench(chain=chain, sampling=Sampling(n_steps=2, batch=3), baselines=folder)


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    """Two people, one prompt, two seeds."""
    return tasks_of(cases_of(members_of("validation")[:2]), n_prompts=1, n_seeds=2)


def check_method(method: Method, tasks: Sequence[Task]) -> None:
    """What must hold of every method: it paints each task by itself, the same each time, and changes nothing."""
    assert method.name
    assert set(method.needs) <= set(NEEDS)
    assert method.training_minutes_per_person >= 0
    pictures = method.paint(tasks)
    assert len(pictures) == len(tasks)
    assert all(p.dtype == np.uint8 and p.shape == (64, 64, 3) for p in pictures)
    again = method.paint(tasks)
    assert all(np.array_equal(a, b) for a, b in zip(pictures, again))
    alone = method.paint(tasks[-1:])[0]
    assert (np.abs(alone.astype(int) - pictures[-1]) <= 2).mean() > 0.999
    assert method.paint([]) == []


ROWS = [
    *("prompt", "oracle", "oracle_history", "painter", "other_user", "e_img_only", "prefgen"),
    *("ip_adapter", "ip_adapter_user", "instantstyle", "stylealigned", "viper", "easyref", "bagel"),
    *("fabric", "rewrite", "text_mean", "best_of_n", "lora"),
]
NEVER_RUN = ("bagel",)
NOT_TUNED = {"prompt", "painter", "other_user", *NEVER_RUN}
SHORT = {"lora": {"n_steps": 3, "rank": 2}}
"""Settings that keep a training of a test's length."""


def test_the_rows_are_those_that_were_promised_each_under_its_own_name(bench: Bench) -> None:
    assert len(ROWS) == 19
    assert list(METHODS) == ROWS
    for name in ROWS:
        if name not in NEVER_RUN:
            assert METHODS[name](bench).name == name


@pytest.mark.parametrize("name", [name for name in METHODS if name not in NEVER_RUN])
def test_every_method_keeps_the_contract(name: str, bench: Bench, tasks: list[Task]) -> None:
    plain = {key: value.clone() for key, value in bench.chain.pipe.unet.state_dict().items()}
    method = METHODS[name](bench, **{**tuned_parameters(name), **SHORT.get(name, {})})
    assert method.name == name
    check_method(method, tasks)
    assert all(torch.equal(plain[k], v) for k, v in bench.chain.pipe.unet.state_dict().items())


def test_methods_that_hear_somebody_differ_from_the_prompt_and_from_each_other(bench: Bench, tasks: list[Task]) -> None:
    made = {n: np.stack(METHODS[n](bench).paint(tasks)) for n in ("prompt", "prefgen", "other_user")}
    names = list(made)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert not np.array_equal(made[a], made[b]), (a, b)


def test_the_image_embedding_hears_pictures_and_no_language_model(bench: Bench, tasks: list[Task]) -> None:
    method = METHODS["e_img_only"](bench)
    assert isinstance(method, PrefGenMethod)
    shelf = tasks[0].case.shelf
    tokens = method.tokens(shelf)
    assert tokens.like is not None
    assert tokens.dislike is not None
    assert tokens.like.shape == tokens.dislike.shape == (1, N_TOKENS, D_CROSS)
    assert not torch.allclose(tokens.like, tokens.dislike)
    liked_alone = Shelf(owner="", shown=tuple(s for s in shelf.shown if s.liked))
    alone = method.tokens(liked_alone)
    torch.testing.assert_close(alone.like, tokens.like)
    assert alone.dislike is not None
    assert not alone.dislike.any()


def test_a_rival_without_weights_is_not_run(bench: Bench, tmp_path: Path) -> None:
    empty = Bench(chain=bench.chain, sampling=bench.sampling, baselines=tmp_path)
    for name in ("ip_adapter", "ip_adapter_user", "e_img_only", "instantstyle", "easyref"):
        with pytest.raises(NotRun, match="because there are no weights"):
            METHODS[name](empty)
    for name in ("ip_adapter", "easyref"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "e_img_only" / "user_encoder").mkdir(parents=True)
    for name in ("ip_adapter", "e_img_only", "easyref"):
        with pytest.raises(NotRun, match="because its weights cannot be used"):
            METHODS[name](empty)


def test_bagel_is_never_a_number(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(NotRun, match=r"because its public weights .* are not in"):
        METHODS["bagel"](bench)
    (tmp_path / "bagel").mkdir()
    (tmp_path / "bagel" / "ae.safetensors").write_bytes(b"")
    with pytest.raises(NotRun, match="because no library"):
        METHODS["bagel"](Bench(chain=bench.chain, sampling=bench.sampling, baselines=tmp_path))


def test_a_baseline_pools_as_its_config_says(bench: Bench, tmp_path: Path) -> None:
    chain = bench.chain
    assert isinstance(chain, FakeChain)
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    tokens = {}
    for pool in ("mean", "first"):
        save_baseline(tmp_path / pool, chain, pool)
        tokens[pool] = BaselineAdapter.load(tmp_path / pool, chain.pipe.unet).tokens(x).like
    first = BaselineAdapter.load(tmp_path / "mean", chain.pipe.unet).tokens(x[:1]).like
    assert tokens["first"] is not None and first is not None and tokens["mean"] is not None  # noqa: PT018
    torch.testing.assert_close(tokens["first"], first)
    assert not torch.allclose(tokens["mean"], first)
    save_baseline(tmp_path / "other", chain, "median")
    with pytest.raises(ModelError, match="pool"):
        BaselineAdapter.load(tmp_path / "other", chain.pipe.unet)


def test_the_oracle_tells_one_liked_value_a_family_and_every_dislike(bench: Bench, tasks: list[Task]) -> None:
    oracle = OracleMethod(bench)
    for task in tasks:
        taste = ruling_taste(task)
        caption, avoided = oracle.words(task)
        assert caption.startswith(task.prompt)
        told = caption.removeprefix(task.prompt).strip(", ").split(", ")
        assert len(told) == len(taste.likes)
        assert all(any(v in values for values in taste.likes.values()) for v in told)
        assert set(avoided.split(", ")) == {v for vs in taste.dislikes.values() for v in vs}


def test_the_history_oracle_counts_labels_not_truth() -> None:
    def shown(liked: bool, **values: str) -> Shown:
        return Shown(scene=Scene(subject="fox", values=values), liked=liked, truly_liked=not liked, time=0.0)

    history = [
        shown(True, palette="gold", medium="mosaic"),
        shown(True, palette="gold", medium="ink"),
        shown(True, palette="teal", medium="ink"),
        shown(False, medium="ink", hand="bold"),
        shown(False, medium="mosaic"),
    ]
    liked, disliked = told_by_history(history)
    assert liked == {"palette": "gold", "medium": "ink"}
    assert disliked == ("bold",)
    assert list(liked) == [f for f in FAMILIES if f in liked]


def test_the_painter_shows_what_is_liked_now(tasks: list[Task]) -> None:
    for task in tasks:
        scene, taste = painter_scene(task), ruling_taste(task)
        assert (scene.subject, scene.setting) == (task.subject, task.setting)
        assert not any(v in taste.dislikes.get(f, ()) for f, v in scene.values.items())
        assert scene.seed % 8 == 1


def test_every_sweep_has_eight_points_and_the_committed_choice_fits_its_method(bench: Bench) -> None:
    assert set(SWEEPS) == set(METHODS) - NOT_TUNED
    for name, points in SWEEPS.items():
        assert len({tuple(sorted(point.items())) for point in points}) == len(points) == 8, name
        for point in points:
            METHODS[name](bench, **point)
    for name, maker in METHODS.items():
        if name not in NEVER_RUN:
            maker(bench, **tuned_parameters(name))
    assert tuned_parameters("other_user") == tuned_parameters("prefgen")


def test_the_best_point_keeps_the_subject_where_one_can() -> None:
    bold = SweepPoint(parameters={"guidance_scale": 5.0}, utility=0.9, subject_accuracy_of_prompt=0.8)
    tame = SweepPoint(parameters={"guidance_scale": 2.0}, utility=0.4, subject_accuracy_of_prompt=0.99)
    assert best_point([bold, tame]) is tame
    assert best_point([bold]) is bold


def test_where_no_point_keeps_the_subject_those_near_the_best_are_compared() -> None:
    lost, near, nearest = (
        SweepPoint(parameters={"guidance_scale": g}, utility=u, subject_accuracy_of_prompt=s)
        for g, u, s in ((6.0, 0.9, 0.6), (4.0, 0.5, 0.86), (3.0, 0.3, 0.9))
    )
    assert best_point([lost, near, nearest]) is near


def test_tuning_looks_at_validation_people_only_and_is_recorded(bench: Bench, tmp_path: Path) -> None:
    quick = Bench(chain=bench.chain, sampling=Sampling(n_steps=1), baselines=bench.baselines)
    parameters, points = tune("oracle", quick, members_of("validation"), FakeJudge(), n_users=2, n_prompts=1)
    assert len(points) == 8
    assert parameters in [p.parameters for p in points]
    record("oracle", parameters, points, tmp_path / "tuning.json")
    assert tuned_parameters("oracle", tmp_path / "tuning.json") == parameters
    with pytest.raises(InputError, match="test split"):
        tune("oracle", quick, members_of("test"), FakeJudge())
    with pytest.raises(InputError, match="expected a method of"):
        tune("prompt", quick, members_of("validation"), FakeJudge())
