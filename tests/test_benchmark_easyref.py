"""Reference tokens: what the final layer is handed, what the tokens gather, and that they can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fake_judge import FakeChain
from prefgen.benchmark.chain import Sampling
from prefgen.benchmark.methods import Bench, NotRun
from prefgen.benchmark.methods.easyref import EasyRefMethod
from prefgen.benchmark.population import members_of
from prefgen.benchmark.tasks import Shelf, cases_of, tasks_of
from prefgen.core import ModelError
from prefgen.mllm import ReferenceReader, language_model, reference_states
from prefgen.recipes.easyref import N_ORDERS, SHOWN, LikedStates, liked_columns, n_shown
from prefgen.recipes.population import person_pictures
from tiny_baselines import save_baselines
from tiny_diffusion import D_CROSS, N_TOKENS
from tiny_mllm import noise, tiny_mllm


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder, chain = tmp_path_factory.mktemp("baselines"), FakeChain()
    save_baselines(folder, chain)
    return Bench(chain=chain, sampling=Sampling(n_steps=2, batch=3), baselines=folder)


@pytest.fixture
def reader() -> ReferenceReader:
    torch.manual_seed(0)
    return ReferenceReader(tiny_mllm(), N_TOKENS, D_CROSS)


def test_the_states_are_what_the_final_layer_is_handed() -> None:
    mllm = tiny_mllm()
    handed: list[torch.Tensor] = []

    def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        handed.append(args[0] if args else kwargs["hidden_states"])

    hook = language_model(mllm.model).layers[-1].register_forward_pre_hook(keep, with_kwargs=True)
    read = reference_states(mllm, [[noise(1), noise(2)]])
    hook.remove()
    assert read.states.shape[1] == int(read.ends.max())
    torch.testing.assert_close(read.states, handed[0][:, : read.states.shape[1]])


def test_the_first_states_of_a_set_are_those_of_the_pictures_alone_and_of_an_uneven_batch() -> None:
    mllm, pictures = tiny_mllm(), [noise(k) for k in range(3)]
    whole = reference_states(mllm, [pictures, pictures[:1]])
    assert (whole.ends > 0).sum(1).tolist() == [3, 1]
    for k in range(1, 4):
        alone = reference_states(mllm, [pictures[:k]])
        end = int(alone.ends[0, k - 1])
        assert whole.ends[0, k - 1] == end == alone.states.shape[1]
        torch.testing.assert_close(whole.states[0, :end], alone.states[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(whole.states[1, : whole.ends[1, 0]], whole.states[0, : whole.ends[0, 0]])


def test_tokens_hear_every_counted_state_and_no_other(reader: ReferenceReader) -> None:
    states = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(1))
    counted = torch.tensor([7])
    with torch.no_grad():
        tokens = reader(states, counted)
        assert tokens.shape == (1, N_TOKENS, D_CROSS)
        for place in range(9):
            changed = states.clone()
            changed[0, place] += 3
            assert torch.equal(reader(changed, counted), tokens) == (place >= 7), place
        padded = F.pad(states[:, :7], (0, 0, 0, 20))
        torch.testing.assert_close(reader(padded, counted), tokens, atol=1e-5, rtol=1e-4)


def test_tokens_hear_each_other_both_ways(reader: ReferenceReader) -> None:
    states, counted = torch.zeros(1, 2, 32), torch.tensor([2])
    with torch.no_grad():
        before = reader(states, counted)
        reader.tokens[-1] += torch.linspace(-3, 3, 32)
        after = reader(states, counted)
    assert not torch.allclose(before[:, 0], after[:, 0]), "the first token hears the last one"


def test_training_reaches_tokens_layer_and_projection_and_spares_the_language_model(reader: ReferenceReader) -> None:
    decoder = language_model(tiny_mllm().model)
    kept = {name: value.clone() for name, value in decoder.state_dict().items()}
    read = reference_states(tiny_mllm(), [[noise(k)] for k in range(6)])
    targets = torch.randn(6, N_TOKENS, D_CROSS, generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.AdamW(reader.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = (reader(read.states, read.ends[:, 0]) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in reader.parameters())
        optimizer.step()
        losses.append(loss.item())
    rolled = (reader(read.states.roll(1, 0), read.ends[:, 0]) - targets).square().mean()
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] < 0.7 * rolled.item(), "the tokens tell the pictures apart"
    assert all(torch.equal(kept[name], value) for name, value in decoder.state_dict().items())


def test_a_saved_reader_is_the_same_and_refuses_another_language_model(reader: ReferenceReader, tmp_path: Path) -> None:
    reader.save(tmp_path)
    loaded = ReferenceReader.load(tmp_path, tiny_mllm())
    states = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        args = states, torch.tensor([5, 3])
        torch.testing.assert_close(loaded(*args), reader(*args), atol=2e-2, rtol=2e-2)

    class Wider:
        width = 64

    with pytest.raises(ModelError, match="width 32 for a language model of width 64"):
        ReferenceReader.load(tmp_path, Wider())  # type: ignore[arg-type]


def test_the_method_hears_liked_pictures_only_and_all_of_them(bench: Bench) -> None:
    tasks = tasks_of(cases_of(members_of("validation")[:2]), n_prompts=1, n_seeds=1)
    method, shelf = EasyRefMethod(bench), tasks[0].case.shelf
    whole = method.tokens(shelf).like
    liked = Shelf(owner="", shown=tuple(s for s in shelf.shown if s.liked))
    assert whole is not None
    torch.testing.assert_close(method.tokens(liked).like, whole)
    for k in range(len(liked.shown)):
        fewer = Shelf(owner="", shown=liked.shown[:k] + liked.shown[k + 1 :])
        assert not torch.allclose(method.tokens(fewer).like, whole), k  # type: ignore[arg-type]
    nobody = method.tokens(Shelf(owner="", shown=())).like
    assert nobody is not None
    assert not nobody.any()
    with pytest.raises(NotRun, match="PreferenceMLLM"):
        EasyRefMethod(Bench(chain=FakeChain(), sampling=bench.sampling, baselines=bench.baselines))


def test_rows_are_the_first_pictures_of_an_order() -> None:
    states = torch.arange(2 * N_ORDERS * 9.0).view(2, N_ORDERS, 9, 1).half()
    ends = torch.tensor([[[3, 6, 9], [2, 4, 6]], [[3, 6, 0], [5, 0, 0]]])
    liked = LikedStates(states=states, ends=ends, columns=torch.zeros_like(ends))
    got, counted = liked.rows([0, 1, 1], [1, 0, 1], [2, 5, 3])
    assert counted.tolist() == [4, 6, 5], "at most all there are"
    assert got.shape == (3, 6, 1)
    torch.testing.assert_close(got[1], states[1, 0, :6].float())


def test_orders_hold_the_pictures_labelled_as_liked() -> None:
    orders = [liked_columns(3, k, "train", 0) for k in range(N_ORDERS)]
    history = person_pictures(3, "train", 0).history
    assert sorted(orders[0]) == sorted(orders[1]) == [j for j, s in enumerate(history) if s.liked]
    assert orders[0] != orders[1]


def test_single_pictures_come_first_and_sets_of_the_benchmarks_size_later() -> None:
    early, late = (np.array(n_shown(np.random.default_rng(0), 4000, progress)) for progress in (0.0, 0.6))
    assert (early == 1).mean() > 0.85
    assert 0.4 < (late == SHOWN).mean() < 0.65
    assert set(late) == set(range(1, 15))
