"""A LoRA per person: nothing at first, more of the pictures after training, and no trace in the network."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from fake_judge import FakeChain, FakeJudge
from prefgen.agents import prompt_of
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import Bench, FitsEachPerson
from prefgen.benchmark.methods.lora import Fit, LoraMethod, _share_of_rate, fitted
from prefgen.benchmark.methods.low_rank import LowRankUpdates, attention_projections
from prefgen.benchmark.methods.prompt import PromptMethod
from prefgen.benchmark.population import members_of
from prefgen.benchmark.run import Plan, run_bench
from prefgen.benchmark.tasks import Shelf, cases_of, tasks_of
from prefgen.diffusion import flow_matching_loss
from prefgen.diffusion.references import reference_latents
from tiny_diffusion import D_CROSS, tiny_unet

SHORT = Fit(rank=2, n_steps=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(chain=FakeChain(), sampling=Sampling(n_steps=2, batch=3), baselines=Path("nowhere"))


@pytest.fixture(scope="module")
def tasks():
    return tasks_of(cases_of(members_of("validation")[:2]), n_prompts=1, n_seeds=1)


def output(unet, x: float = 0.5) -> torch.Tensor:
    with torch.no_grad():
        return unet(torch.full((1, 4, 8, 8), x), torch.tensor(500.0), torch.ones(1, 5, D_CROSS)).sample


def test_updates_are_w_plus_b_a_in_every_attention_projection() -> None:
    unet = tiny_unet()
    layers = attention_projections(unet)
    n_attentions = sum(name.endswith(("attn1", "attn2")) for name, _ in unet.named_modules())
    assert len(layers) == 4 * n_attentions
    updates = LowRankUpdates(unet, 3, torch.Generator().manual_seed(0))
    plain = output(unet)
    with updates.heard(unet):
        assert torch.equal(output(unet), plain), "an untrained update changes nothing"
    with torch.no_grad():
        for up in updates.up:
            up.normal_(std=0.1)
    with updates.heard(unet, 0.5):
        moved = output(unet)
    assert torch.equal(output(unet), plain), "and a heard one leaves no trace"
    assert not any(layer._forward_hooks for layer in layers.values())
    with torch.no_grad():
        for layer, down, up in zip(layers.values(), updates.down, updates.up):
            layer.weight += 0.5 * up @ down
    torch.testing.assert_close(output(unet), moved, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(moved, plain)


def test_training_learns_the_pictures_and_leaves_the_network_as_it_was(bench: Bench, tasks) -> None:
    unet, shelf = bench.chain.pipe.unet, tasks[0].case.shelf
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    wanted = [p.requires_grad for p in unet.parameters()]
    updates = fitted(bench.chain, shelf, Fit(rank=4, n_steps=60, learning_rate=1e-2))
    assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items())
    assert [p.requires_grad for p in unet.parameters()] == wanted
    assert all(p.grad is None for p in unet.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())
    assert not any(p.requires_grad for p in updates.parameters())

    def missed(strength: float) -> float:
        latents = reference_latents(bench.chain.pipe, shelf.liked)
        prompts = [prompt_of(s.scene) for s in shelf.shown if s.liked]
        text, _ = bench.chain.pipe.encode_prompt(prompts, "cpu", 1, False)
        with torch.no_grad(), updates.heard(unet, strength):
            return sum(
                float(
                    flow_matching_loss(
                        lambda x, t, c: unet(x, t, c).sample, latents, text, torch.Generator().manual_seed(k)
                    ).mean
                )
                for k in range(4)
            )

    assert missed(1.0) < 0.97 * missed(0.0)


def test_a_training_is_decided_by_shelf_and_settings_alone(bench: Bench, tasks) -> None:
    shelf, other = tasks[0].case.shelf, tasks[1].case.shelf
    torch.manual_seed(1)
    one = fitted(bench.chain, shelf, SHORT).state_dict()
    torch.manual_seed(2)
    again, stranger = fitted(bench.chain, shelf, SHORT).state_dict(), fitted(bench.chain, other, SHORT).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not torch.equal(one["up.0"], stranger["up.0"])


def test_rows_without_a_caption_learn_to_stay_the_plain_networks(bench: Bench, tasks, monkeypatch) -> None:
    """With nothing but such rows the loss is 0 from the first step on, and the updates stay nothing."""
    import prefgen.benchmark.methods.lora as module

    monkeypatch.setattr(module, "DROPPED_CAPTIONS", 1.0)
    assert max(float(up.abs().max()) for up in fitted(bench.chain, tasks[0].case.shelf, SHORT).up) < 1e-6
    monkeypatch.setattr(module, "DROPPED_CAPTIONS", 0.0)
    assert max(float(up.abs().max()) for up in fitted(bench.chain, tasks[0].case.shelf, SHORT).up) > 1e-3


def test_at_strength_nothing_it_is_the_plain_model_and_who_likes_nothing_gets_it(bench: Bench, tasks) -> None:
    plain = np.stack(PromptMethod(bench).paint(tasks))
    settings = {"n_steps": 4, "rank": 2, "learning_rate": 1e-2}
    assert np.array_equal(np.stack(LoraMethod(bench, like_strength=0.0, **settings).paint(tasks)), plain)
    method = LoraMethod(bench, **settings)
    assert not np.array_equal(np.stack(method.paint(tasks)), plain)
    shelf = Shelf(owner="", shown=tuple(s for s in tasks[0].case.shelf.shown if not s.liked))
    alone = replace(tasks[0], case=replace(tasks[0].case, shelf=shelf))
    assert np.array_equal(method.paint([alone])[0], PromptMethod(bench).paint([alone])[0])


def test_points_that_differ_in_painting_only_share_a_training(bench: Bench, tasks) -> None:
    settings = {"n_steps": 3, "rank": 3}
    first, second, third = (
        LoraMethod(bench, **settings, **more)
        for more in ({}, {"guidance_scale": 4.0, "like_strength": 0.5}, {"learning_rate": 5e-3})
    )
    for method in (first, second, third):
        method.paint(tasks)
    assert [len(m.training_seconds) for m in (first, second, third)] == [2, 0, 2]
    assert all(s > 0 for s in first.training_seconds)
    assert isinstance(first, FitsEachPerson)
    assert not isinstance(PromptMethod(bench), FitsEachPerson)


def test_the_rate_warms_up_and_ends_at_nothing() -> None:
    rates = [_share_of_rate(k, 200) for k in range(201)]
    assert rates[0] < 0.06
    assert max(rates) > 0.95
    assert rates[200] == pytest.approx(0)
    assert all(a >= b for a, b in pairwise(rates[20:]))


def test_a_run_says_how_long_training_a_person_took(tmp_path, monkeypatch) -> None:
    import prefgen.benchmark.run as module

    monkeypatch.setattr(module, "tuned_parameters", lambda name: {"n_steps": 2, "rank": 1} if name == "lora" else {})

    def rows() -> list[dict]:
        report = run_bench(
            FakeChain(),
            FakeJudge(),
            members_of("validation"),
            plan=Plan(n_users=2, n_prompts=1, n_seeds=1, n_reserved=0, n_steps=1),
            methods=["prompt", "lora"],
            metrics=["win_rate"],
            out=tmp_path,
        )
        return [r for r in report["rows"] if r["metric"] == "training_minutes_per_person"]

    (one,) = rows()
    assert (one["method"], one["n"]) == ("lora", 2)
    assert 0 < one["low"] <= one["value"] <= one["high"]
    (resumed,) = rows()
    assert (resumed["value"], resumed["n"]) == ("n/a", 0), "pictures from disk took no training"
