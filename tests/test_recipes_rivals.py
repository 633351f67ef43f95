"""What the rivals' recipes write is what their methods read; a training in pieces is the training in one go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import prefgen.recipes.easyref as easyref
import prefgen.recipes.text_projection as text_projection
from fake_judge import FakeChain
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import Bench
from prefgen.benchmark.methods.easyref import EasyRefMethod
from prefgen.benchmark.methods.instantstyle import InstantStyleMethod
from prefgen.benchmark.population import members_of
from prefgen.benchmark.tasks import cases_of, tasks_of
from prefgen.recipes.checkpoint import load_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Deadline, Unfinished
from prefgen.recipes.people_features import PeopleFeatures
from prefgen.recipes.population import N_COLUMNS, N_DISLIKED_TARGETS, N_LIKED_TARGETS
from prefgen.recipes.presets import preset_named
from tiny_baselines import D_CLIP, save_baseline
from tiny_diffusion import tiny_text_encoder, tiny_tokenizer, tiny_unet
from tiny_mllm import tiny_mllm

N_USERS = 5
SMALLEST = preset_named("tiny").with_overrides(
    n_users=N_USERS,
    user_tokens=8,
    adapter_word_samples=256,
    adapter_twin_samples=8,
    adapter_samples=4,
    adapter_batch=4,
    eye_weight=0.0,
)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, float | None], Context]:
    """Makes a run whose frozen parts are tiny and whose people's pictures are noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N_USERS, N_COLUMNS, 64, 64, 3), dtype=np.uint8)
    latents = rng.normal(size=(N_USERS, N_LIKED_TARGETS + N_DISLIKED_TARGETS, 4, 8, 8)).astype(np.float16)
    nothing = torch.zeros(N_USERS, 3, 2, 1, 1)
    clip = torch.from_numpy(rng.normal(size=(N_USERS, N_COLUMNS, D_CLIP))).half()
    people = PeopleFeatures(split="train", seed=0, last=nothing, mean=nothing, clip=clip)
    monkeypatch.setattr(easyref, "population", lambda c, split: images)
    monkeypatch.setattr(easyref, "people_features", lambda c, states: people)
    monkeypatch.setattr(easyref, "target_latents", lambda c: latents)
    monkeypatch.setattr(easyref, "loaded_mllm", lambda c: tiny_mllm())
    monkeypatch.setattr(text_projection, "picture_embeddings", lambda c: clip.flatten(0, 1))

    def made(work: Path, max_minutes: float | None = None) -> Context:
        out = work / "model"
        if not out.exists():
            tiny_unet().save_pretrained(out / "unet")
            tiny_tokenizer().save_pretrained(out / "tokenizer")
            tiny_text_encoder().save_pretrained(out / "text_encoder")
        return Context(preset=SMALLEST, work=work, out=out, deadline=Deadline(minutes=max_minutes))

    return made


def bench_of(folder: Path) -> Bench:
    """A bench whose chain has the tiny language model."""
    chain = FakeChain()
    chain.mllm = tiny_mllm()  # type: ignore[assignment]
    return Bench(chain=chain, sampling=Sampling(n_steps=1), baselines=folder)


def test_easyref_is_trained_saved_and_heard_and_in_pieces_as_in_one_go(context, tmp_path: Path) -> None:
    easyref.train_easyref(context(tmp_path / "whole"))
    folder = tmp_path / "whole" / "baselines"
    n_calls = 1
    while True:
        try:
            easyref.train_easyref(context(tmp_path / "pieces", 0.0))
            break
        except Unfinished:
            n_calls += 1
    assert n_calls > 3
    for name in ("reader", "like"):
        files = (tmp_path / run / "baselines" / "easyref" / f"{name}.safetensors" for run in ("whole", "pieces"))
        whole, pieces = map(load_tensors, files)
        assert whole
        differ = [key for key, value in whole.items() if not torch.equal(value, pieces[key])]
        assert differ == [], name
    (task,) = tasks_of(cases_of(members_of("validation")[:2])[:1], n_prompts=1, n_seeds=1)
    bench = bench_of(folder)
    heard, silent = (EasyRefMethod(bench, like_strength=s).paint([task])[0] for s in (1.0, 0.0))
    assert not np.array_equal(heard, silent)
    stamp = (folder / "easyref" / "reader.safetensors").stat().st_mtime_ns
    easyref.train_easyref(context(tmp_path / "whole"))
    assert (folder / "easyref" / "reader.safetensors").stat().st_mtime_ns == stamp, "what is done is left alone"


def test_the_text_projection_is_what_instantstyle_reads(context, tmp_path: Path) -> None:
    text_projection.train_text_projection(context(tmp_path))
    bench = bench_of(tmp_path / "baselines")
    save_baseline(bench.baselines / "ip_adapter", bench.chain)  # type: ignore[arg-type]
    said = InstantStyleMethod(bench).content(["a fox", "a castle by a lake"])
    assert said.shape == (2, D_CLIP)
    assert not torch.allclose(said[0], said[1])
