"""What each rival without weights of its own does to the plain model, and that it is the plain model at strength 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fake_judge import FakeChain
from prefgen.benchmark.chain import Sampling, pictures_as_array
from prefgen.benchmark.methods import METHODS, Bench
from prefgen.benchmark.methods.best_of_n import BestOfNMethod
from prefgen.benchmark.methods.fabric import FabricMethod
from prefgen.benchmark.methods.prompt import PromptMethod
from prefgen.benchmark.methods.rewrite import RewriteMethod
from prefgen.benchmark.methods.stylealigned import StyleAlignedMethod, adain, aligned_attention
from prefgen.benchmark.methods.text_mean import TextMeanMethod
from prefgen.benchmark.methods.viper import ViperMethod
from prefgen.benchmark.methods.words import text_states, understood_words
from prefgen.benchmark.population import members_of
from prefgen.benchmark.tasks import Shelf, cases_of, tasks_of
from prefgen.diffusion.references import attending, padded_references, weighted_attention
from prefgen.diffusion.word_steering import TextStates, steered_by_words


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(chain=FakeChain(), sampling=Sampling(n_steps=2, batch=3), baselines=tmp_path_factory.mktemp("none"))


@pytest.fixture(scope="module")
def tasks():
    return tasks_of(cases_of(members_of("validation")[:2]), n_prompts=1, n_seeds=2)


@pytest.fixture(scope="module")
def plain(bench: Bench, tasks) -> np.ndarray:
    return np.stack(PromptMethod(bench).paint(tasks))


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding in the last bit of a few pixels."""
    return bool((np.abs(a.astype(int) - b.astype(int)) <= 1).mean() > 0.999)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (FabricMethod, {"like_strength": 0.0, "dislike_strength": 0.0}),
        (StyleAlignedMethod, {"like_strength": 0.0}),
        (ViperMethod, {"degree": 0.0}),
        (TextMeanMethod, {"strength": 0.0}),
        (BestOfNMethod, {"n": 1}),
    ],
)
def test_at_strength_nothing_each_is_the_plain_model(method, settings, bench: Bench, tasks, plain) -> None:
    assert close(np.stack(method(bench, **settings).paint(tasks)), plain)
    assert not close(np.stack(method(bench).paint(tasks)), plain)


@pytest.mark.parametrize("name", ["fabric", "stylealigned", "viper", "rewrite", "text_mean"])
def test_each_hears_whose_pictures_they_are(name: str, bench: Bench, tasks) -> None:
    swapped = [
        type(t)(**{**vars(t), "case": type(t.case)(**{**vars(t.case), "shelf": t.case.stranger})}) for t in tasks
    ]
    own, others = (np.stack(METHODS[name](bench).paint(some)) for some in (tasks, swapped))
    assert not np.array_equal(own, others)


def test_understood_words_are_the_strongest_of_each_side(bench: Bench, tasks) -> None:
    shelf = tasks[0].case.shelf
    found = bench.chain.explain(bench.chain.profile(liked=shelf.liked, disliked=shelf.disliked))
    for n in (1, 2):
        words = understood_words(bench, shelf, n)
        assert words.liked == tuple(w.word for w in found.likes[:n])
        assert words.disliked == tuple(w.word for w in found.dislikes[:n])


def test_rewriting_writes_liked_words_behind_the_prompt_and_avoids_the_others(bench: Bench, tasks, monkeypatch) -> None:
    import prefgen.benchmark.methods.rewrite as module

    told: list[dict] = []
    monkeypatch.setattr(module, "paint_tasks", lambda *args, **kwargs: told.append(kwargs) or [])
    RewriteMethod(bench, n_words=1).paint(tasks)
    for task, prompt, negative in zip(tasks, told[0]["prompts"], told[0]["negative_prompts"]):
        words = understood_words(bench, task.case.shelf, 1)
        assert (prompt, negative) == (f"{task.prompt}, {words.liked[0]}", words.disliked[0])


def test_viper_guides_by_its_formula(bench: Bench) -> None:
    unet, n, d, scale = bench.chain.pipe.unet, 2, 0.85, 3.0
    x = torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    texts = {k: text_states(bench, [k] * n) for k in ("", "a fox", "gold", "teal")}
    time = torch.tensor(500.0)
    with torch.no_grad():
        e = {k: unet(x, time, states).sample for k, states in texts.items()}
        gold, teal = (TextStates(states=texts[k]) for k in ("gold", "teal"))
        with steered_by_words(unet, gold, teal, d, d):
            both = torch.cat([texts[""], texts["a fox"]])
            nothing, text = unet(torch.cat([x, x]), time, encoder_hidden_states=both).sample.chunk(2)
    ours = nothing + scale * (text - nothing)
    theirs = e[""] + scale * (e["a fox"] + d * e["gold"] - e[""] - d * e["teal"])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert not unet._forward_pre_hooks
    assert not unet._forward_hooks


def test_the_mean_direction_of_one_word_is_that_words_own(bench: Bench) -> None:
    method = TextMeanMethod(bench)
    gold, teal = method.direction(["gold"]), method.direction(["teal"])
    torch.testing.assert_close(method.direction(["gold", "teal"]), (gold + teal) / 2)
    assert not method.direction([]).any()


def layer_of(bench: Bench):
    return next(m for n, m in bench.chain.pipe.unet.named_modules() if n.endswith("attn1"))


def test_weighted_attention_is_attention_over_copies() -> None:
    """A reference of weight 2 counts as two copies of weight 1, one of weight 0 as none."""
    bench = Bench(chain=FakeChain(), sampling=Sampling(), baselines=Path())
    attn = layer_of(bench)
    width = attn.to_q.in_features
    generator = torch.Generator().manual_seed(1)
    x, a, b = (torch.randn(1, k, 5, width, generator=generator) for k in (1, 1, 1))
    x = x[0]

    def seen(references: torch.Tensor, weights: list[float]) -> torch.Tensor:
        with torch.no_grad():
            return weighted_attention(attn, x, references, torch.tensor([weights]))

    torch.testing.assert_close(seen(torch.cat([a, b], 1), [2.0, 0.0]), seen(torch.cat([a, a], 1), [1.0, 1.0]))
    with torch.no_grad():
        torch.testing.assert_close(seen(a, [0.0]), attn(x))


def test_queries_and_keys_take_on_the_statistics_of_the_reference() -> None:
    generator = torch.Generator().manual_seed(2)
    x, style = (torch.randn(2, 3, 20, 4, generator=generator) * s + m for s, m in ((1, 0), (3, 5)))
    moved = adain(x, style)
    torch.testing.assert_close(moved.mean(2), style.mean(2), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(moved.std(2), style.std(2), atol=1e-3, rtol=1e-3)


def test_a_person_without_liked_pictures_gets_the_plain_layer(bench: Bench) -> None:
    attn = layer_of(bench)
    width = attn.to_q.in_features
    states, reference = torch.randn(2, 2, 6, width, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        out = aligned_attention(attn, states, reference, torch.tensor([-torch.inf, 0.0]))
        plain = attn(states)
    torch.testing.assert_close(out[0], plain[0])
    assert not torch.allclose(out[1], plain[1])


def test_references_are_padded_and_leave_no_trace(bench: Bench) -> None:
    grey, red = Image.new("RGB", (64, 64), "grey"), Image.new("RGB", (64, 64), "red")
    latents, there = padded_references(bench.chain.pipe, [[grey, red], [red], []])
    assert there.tolist() == [[True, True], [True, False], [False, False]]
    torch.testing.assert_close(latents[0, 1], latents[1, 0])
    before = bench.chain.pipe.unet.attn_processors
    with pytest.raises(RuntimeError, match="stop"), attending(bench.chain.pipe, latents, lambda *_: torch.zeros(0)):
        raise RuntimeError("stop")
    assert bench.chain.pipe.unet.attn_processors == before
    assert not bench.chain.pipe.unet._forward_pre_hooks


def test_the_best_of_n_is_the_candidate_nearest_to_the_likes(bench: Bench, tasks) -> None:
    red, blue = Image.new("RGB", (64, 64), (250, 10, 10)), Image.new("RGB", (64, 64), (10, 10, 250))

    class Colours(Shelf):
        liked, disliked = [red, red], [blue]  # type: ignore[assignment]

    method = BestOfNMethod(bench, n=3)
    liking = method.classifier(Colours(owner="", shown=()))
    assert liking([red])[0] > liking([Image.new("RGB", (64, 64), (130, 10, 130))])[0] > liking([blue])[0]
    kept = np.stack(method.paint(tasks[:1]))
    assert kept.shape == np.stack(pictures_as_array([red])).shape


def test_a_history_of_one_side_decides_nothing(bench: Bench, tasks, plain) -> None:
    shelf = tasks[0].case.shelf
    one_side = Shelf(owner="", shown=tuple(s for s in shelf.shown if s.liked))
    assert not BestOfNMethod(bench).classifier(one_side)([*one_side.liked]).any()
