"""InstantStyle: heard in the style blocks alone, and deaf to what the pictures' prompts say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fake_judge import FakeChain
from prefgen.adapter import UserAdapter, UserTokens, cross_attentions
from prefgen.agents import prompt_of
from prefgen.benchmark.chain import Sampling, clip_embeddings
from prefgen.benchmark.methods import Bench, NotRun
from prefgen.benchmark.methods.instantstyle import InstantStyleMethod, heard_only_in
from prefgen.benchmark.methods.ip_adapter import IpAdapterMethod
from prefgen.benchmark.population import members_of
from prefgen.benchmark.tasks import cases_of, tasks_of
from prefgen.recipes.text_projection import fitted_projection
from tiny_baselines import save_baselines
from tiny_diffusion import D_CROSS, N_TOKENS


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder, chain = tmp_path_factory.mktemp("baselines"), FakeChain()
    save_baselines(folder, chain)
    return Bench(chain=chain, sampling=Sampling(n_steps=2, batch=3), baselines=folder)


@pytest.fixture(scope="module")
def tasks():
    return tasks_of(cases_of(members_of("validation")[:2]), n_prompts=1, n_seeds=1)


def test_only_the_named_blocks_hear_the_picture(bench: Bench) -> None:
    unet = bench.chain.pipe.unet
    adapter = UserAdapter.for_network(unet, ("like",), init="copy")
    tokens = torch.randn(1, N_TOKENS, D_CROSS, generator=torch.Generator().manual_seed(0))
    assert heard_only_in(adapter, unet, "up_blocks.1.") == sum("up_blocks.1." in n for n in cross_attentions(unet)) > 0
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in cross_attentions(unet)}
    hooks = [
        layer.register_forward_hook(lambda _, __, out, name=name: outputs[name].append(out))
        for name, layer in cross_attentions(unet).items()
    ]
    x, text = torch.zeros(1, 4, 8, 8), torch.ones(1, 5, D_CROSS)
    with torch.no_grad(), adapter.injected(unet):
        for heard in (None, UserTokens(like=tokens)):
            with adapter.users(heard):
                unet(x, torch.tensor(500.0), text)
    for hook in hooks:
        hook.remove()
    first = next(name for name in outputs if name.startswith("up_blocks.1."))
    for name, (plain, heard) in outputs.items():
        if not name.startswith("up_blocks.1."):
            assert torch.equal(plain, heard), name
        elif name == first:
            assert not torch.allclose(plain, heard)


def test_at_full_content_and_everywhere_it_is_not_the_image_prompt_and_without_both_it_is(bench, tasks, monkeypatch):
    import prefgen.benchmark.methods.instantstyle as module

    stock = np.stack(IpAdapterMethod(bench).paint(tasks))
    assert not np.array_equal(np.stack(InstantStyleMethod(bench, content_strength=0.0).paint(tasks)), stock)
    monkeypatch.setattr(module, "heard_only_in", lambda *_: 1)
    assert np.array_equal(np.stack(InstantStyleMethod(bench, content_strength=0.0).paint(tasks)), stock)
    assert not np.array_equal(np.stack(InstantStyleMethod(bench, content_strength=1.0).paint(tasks)), stock)


def test_what_is_subtracted_is_what_the_liked_pictures_prompts_say(bench: Bench, tasks) -> None:
    method, shelf = InstantStyleMethod(bench, content_strength=0.7), tasks[0].case.shelf
    seen = clip_embeddings(bench.chain, shelf.liked)
    said = method.content([prompt_of(s.scene) for s in shelf.shown if s.liked])
    assert said.shape == seen.shape
    assert said.std(0).min() > 0, "each picture's own prompt"
    expected = method.baseline.projector((seen - 0.7 * said).mean(0, keepdim=True))
    torch.testing.assert_close(method.tokens(shelf).like, expected)


def test_a_block_without_cross_attention_is_said(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(NotRun, match=r"no cross-attention in up_blocks\.7"):
        InstantStyleMethod(bench, up_block=7)
    (tmp_path / "instantstyle").mkdir()
    (tmp_path / "instantstyle" / "text_projection.safetensors").write_bytes(b"torn")
    (tmp_path / "ip_adapter").symlink_to(bench.baselines / "ip_adapter")
    with pytest.raises(NotRun, match="because its weights cannot be used"):
        InstantStyleMethod(Bench(chain=bench.chain, sampling=bench.sampling, baselines=tmp_path))


def test_the_projection_finds_what_texts_say_of_pictures() -> None:
    """Pictures that are a linear map of their texts, a common offset and noise: the map is found, the offset is not
    subtracted."""
    generator = torch.Generator().manual_seed(0)
    texts = torch.randn(4000, 6, generator=generator) + 5
    truth, offset = torch.randn(4, 6, generator=generator), torch.tensor([9.0, -9.0, 3.0, 0.0])
    images = texts @ truth.T + offset + 0.3 * torch.randn(4000, 4, generator=generator)
    projection = fitted_projection(texts, images)
    torch.testing.assert_close(projection.weight.detach(), truth, atol=0.03, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(projection(texts.mean(0)), torch.zeros(4), atol=1e-4, rtol=0)
