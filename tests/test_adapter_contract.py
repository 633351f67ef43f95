"""The contract of every adapter, held against every family of networks, start and set of groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import nn

from prefgen.adapter import UserAdapter, UserTokens, with_unconditional
from prefgen.core import PrefGenError
from tiny_diffusion import (
    D_CROSS,
    random_tokens,
    tiny_flux_transformer,
    tiny_sd3_transformer,
    tiny_sdxl_unet,
    tiny_unet,
    trained_adapter,
)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "sd": tiny_unet,
    "sdxl": tiny_sdxl_unet,
    "sd3": tiny_sd3_transformer,
    "flux": tiny_flux_transformer,
}


def call(network: Any, n: int = 3) -> torch.Tensor:
    """One velocity prediction for the same random inputs whenever it is called."""
    draw = torch.Generator().manual_seed(9)
    noise = lambda *shape: torch.randn(*shape, generator=draw)  # noqa: E731
    if isinstance(network, SD3Transformer2DModel):
        return network(noise(n, 4, 8, 8), noise(n, 7, D_CROSS), noise(n, 32), torch.full((n,), 500.0)).sample
    if isinstance(network, FluxTransformer2DModel):
        places = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
        return network(
            noise(n, 16, 4),
            noise(n, 7, D_CROSS),
            noise(n, 32),
            torch.full((n,), 0.5),
            img_ids=places,
            txt_ids=torch.zeros(7, 3),
        ).sample
    text, latents = noise(n, 7, network.config.cross_attention_dim), noise(n, 4, 8, 8)
    added = {"text_embeds": noise(n, 32), "time_ids": torch.zeros(n, 6)}
    return network(latents, 500, text, added_cond_kwargs=added).sample


def check_adapter(adapter: UserAdapter, network: Any, tokens: UserTokens) -> None:
    """Everything that must hold of an adapter whose weights matter, for three rows of tokens of its groups."""
    assert len(tokens) == 3
    with torch.no_grad():
        _check_traceless(adapter, network, tokens)
        _check_plain_bits(adapter, network, tokens)
        _check_rows_apart(adapter, network, tokens)
    _check_gradients(adapter, network, tokens)


def _check_traceless(adapter: UserAdapter, network: Any, tokens: UserTokens) -> None:
    plain, processors = call(network), dict(network.attn_processors)
    names, trainable = list(network.state_dict()), [p.requires_grad for p in network.parameters()]
    with adapter.injected(network), adapter.users(tokens):
        assert list(network.state_dict()) == names
        assert not torch.equal(call(network), plain)
    assert not adapter.is_injected
    assert adapter.state is None
    assert all(network.attn_processors[name] is processor for name, processor in processors.items())
    assert [p.requires_grad for p in network.parameters()] == trainable
    assert torch.equal(call(network), plain)


def _check_plain_bits(adapter: UserAdapter, network: Any, tokens: UserTokens) -> None:
    plain = call(network)
    with adapter.injected(network):
        assert torch.equal(call(network), plain)
        for users, strength in ((None, 1.0), (tokens.nobody(), 1.0), (tokens, 0.0), (tokens, torch.zeros(3))):
            with adapter.users(users, strength, strength):
                assert torch.equal(call(network), plain)
                with torch.enable_grad():
                    assert torch.equal(call(network), plain)
        strength = torch.tensor([1.0, 0.0, 1.0])
        with adapter.users(tokens, strength, strength):
            out = call(network)
        assert torch.equal(out[1], plain[1])
        assert not torch.equal(out[0], plain[0])


def _check_rows_apart(adapter: UserAdapter, network: Any, tokens: UserTokens) -> None:
    strangers = random_tokens(3, seed=77, d_cross=adapter.d_cross)
    mixed = UserTokens(
        **{
            name: torch.cat([strangers.group(name)[:1], tokens.group(name)[1:2], strangers.group(name)[2:]])
            for name in adapter.groups
        }
    )
    with adapter.injected(network):
        with adapter.users(tokens):
            ours = call(network)
        with adapter.users(mixed):
            theirs = call(network)
        for name in adapter.groups:
            weaker = {f"{name}_strength": torch.tensor([1.0, 0.5, 1.0])}
            with adapter.users(tokens, **weaker):
                assert torch.equal(call(network)[0], ours[0])
                assert not torch.equal(call(network)[1], ours[1])
    assert torch.equal(ours[1], theirs[1])
    assert not torch.equal(ours[0], theirs[0])


def _check_gradients(adapter: UserAdapter, network: Any, tokens: UserTokens) -> None:
    gradients = []
    for checkpointing in (False, True):
        network.train()
        network.enable_gradient_checkpointing() if checkpointing else network.disable_gradient_checkpointing()
        adapter.zero_grad(set_to_none=True)
        with adapter.injected(network), adapter.users(tokens):
            call(network).square().mean().backward()
        assert all(parameter.grad is None for parameter in network.parameters())
        gradients.append([parameter.grad for parameter in adapter.parameters()])
        assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients[-1])
    torch.testing.assert_close(gradients[0], gradients[1])
    network.eval()
    network.disable_gradient_checkpointing()


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("groups", [("like", "dislike"), ("like",)])
def test_contract(kind: str, groups: tuple) -> None:
    network = NETWORKS[kind]()
    adapter = trained_adapter(network, groups=groups)
    tokens = random_tokens(3, d_cross=adapter.d_cross)
    check_adapter(adapter, network, UserTokens(**{name: tokens.group(name) for name in groups}))


@pytest.mark.parametrize("kind", NETWORKS)
def test_starts_as_the_identity_and_leaves_it_after_one_step(kind: str) -> None:
    network = NETWORKS[kind]()
    adapter, copied = UserAdapter.for_network(network), UserAdapter.for_network(network, init="copy")
    tokens = random_tokens(3, d_cross=adapter.d_cross)
    plain = call(network).detach()
    with adapter.injected(network), adapter.users(tokens):
        out = call(network)
        assert torch.equal(out, plain)
        (out - 1).square().mean().backward()
        torch.optim.SGD(adapter.parameters(), lr=1.0).step()
        assert not torch.equal(call(network), plain)
    with copied.injected(network), copied.users(tokens):
        assert not torch.equal(call(network), plain)


def test_formula_in_one_layer() -> None:
    """Z = Attn(Q, text) + s₊·Attn(Q, like) + s₋·Attn(Q, dislike), written out."""
    unet = tiny_unet()
    adapter = trained_adapter(unet)
    tokens = random_tokens(2)
    name = next(name for name in unet.attn_processors if name.endswith("attn2.processor"))
    attn = unet.get_submodule(name.removesuffix(".processor"))
    hidden, text = torch.randn(2, 5, attn.to_q.in_features), torch.randn(2, 7, 32)

    def attend(key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (attn.to_q(hidden), key, value))
        weights = (q @ k.transpose(-1, -2) / k.shape[-1] ** 0.5).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)

    likes, dislikes = adapter.layers[0]["like"](tokens.like), adapter.layers[0]["dislike"](tokens.dislike)
    z = attend(attn.to_k(text), attn.to_v(text)) + 0.7 * attend(*likes) + 0.2 * attend(*dislikes)
    with adapter.injected(unet), adapter.users(tokens, 0.7, 0.2):
        torch.testing.assert_close(attn(hidden, text), attn.to_out[0](z))


def test_norms_masks_and_residuals_follow_the_stock_processor() -> None:
    """A layer with group norm, residual, rescaling, query and key norms, on a 4-d input, with a text mask."""
    from diffusers.models.attention_processor import Attention

    torch.manual_seed(0)
    attn = Attention(
        query_dim=16,
        cross_attention_dim=32,
        heads=2,
        dim_head=8,
        norm_num_groups=4,
        residual_connection=True,
        rescale_output_factor=2.0,
        qk_norm="layer_norm",
        cross_attention_norm="layer_norm",
        bias=True,
    )
    unet = tiny_unet()
    adapter = trained_adapter(unet)
    from prefgen.adapter.attention import UserAttentionProcessor, UserBranch, UserKeysValues
    from prefgen.adapter.sites import cross_site

    site = cross_site("attn2", attn)
    branches = {"like": UserKeysValues(site, "copy")}
    hidden, text = torch.randn(2, 16, 3, 3), torch.randn(2, 7, 32)
    mask = torch.zeros(2, 1, 7).masked_fill(torch.arange(7) > 4, -1e4)
    plain = attn(hidden, text, attention_mask=mask)
    stock, person = attn.processor, UserTokens(like=random_tokens(2).like)

    def heard(*, norms_keys: bool) -> torch.Tensor:
        branch = UserBranch(lambda: adapter.state, 0, branches, norms_keys=norms_keys)
        attn.set_processor(UserAttentionProcessor(branch, stock))
        with adapter.users(person, torch.tensor([0.0, 1.0])):
            return attn(hidden, text, attention_mask=mask)

    assert site.norms_keys, "the norm of a cross-attention's keys is a person's too"
    out = heard(norms_keys=site.norms_keys)
    assert torch.equal(out[0], plain[0])
    assert not torch.allclose(out[1], plain[1])
    assert not torch.allclose(heard(norms_keys=False)[1], out[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains_and_keeps_plain_rows(dtype: torch.dtype) -> None:
    unet = tiny_unet()
    adapter, tokens = trained_adapter(unet), random_tokens(3)
    with torch.autocast("cpu", dtype):
        plain = call(unet).detach()
        with adapter.injected(unet), adapter.users(tokens, torch.tensor([1.0, 0.0, 1.0]), 0.0):
            out = call(unet)
            out.float().square().mean().backward()
    assert torch.equal(out[1], plain[1])
    assert not torch.equal(out[0], plain[0])
    assert adapter.layers[0]["like"].to_k_ip.weight.grad.dtype == torch.float32


def test_half_precision_model_with_float32_adapter() -> None:
    unet = tiny_unet().to(torch.bfloat16)
    adapter = trained_adapter(unet)
    latents, text = torch.randn(3, 4, 8, 8).bfloat16(), torch.randn(3, 7, 32).bfloat16()
    assert next(adapter.parameters()).dtype == torch.float32
    with adapter.injected(unet), adapter.users(random_tokens(3)):
        assert unet(latents, 500, text).sample.dtype == torch.bfloat16


def test_everyone_dropped_still_trains() -> None:
    """A training step whose users were all dropped has a graph, and zero gradients."""
    unet = tiny_unet()
    adapter = trained_adapter(unet)
    with adapter.injected(unet), adapter.users(random_tokens(3).nobody()):
        call(unet).mean().backward()
    assert all(parameter.grad.abs().max() == 0 for parameter in adapter.parameters())


def test_gradients_reach_the_tokens_and_the_strength_but_no_dropped_row() -> None:
    unet = tiny_unet()
    adapter = trained_adapter(unet)
    like = random_tokens(3).like.clone()
    like[1] = 0
    like.requires_grad_()
    strength = torch.ones(3, requires_grad=True)
    with adapter.injected(unet), adapter.users(UserTokens(like=like), strength):
        call(unet).square().mean().backward()
    assert like.grad[0].abs().max() > 0
    assert like.grad[1].abs().max() == 0
    assert strength.grad[0] != 0
    assert strength.grad[1] == 0


def test_backward_outside_the_context_under_checkpointing_fails_loudly() -> None:
    unet = tiny_unet().train()
    unet.enable_gradient_checkpointing()
    adapter = trained_adapter(unet)
    with adapter.injected(unet):
        with adapter.users(random_tokens(3)):
            loss = call(unet).mean()
        with pytest.raises(torch.utils.checkpoint.CheckpointError):
            loss.backward()


def test_unconditional_half_hears_nobody() -> None:
    unet = tiny_unet()
    adapter, tokens = trained_adapter(unet), random_tokens(2)
    with torch.no_grad():
        plain = call(unet, 4)
        with adapter.injected(unet), adapter.users(with_unconditional(tokens)):
            out = call(unet, 4)
        with adapter.injected(unet), adapter.users(with_unconditional(tokens, random_tokens(2, 5))):
            both = call(unet, 4)
        with adapter.injected(unet), adapter.users(tokens, torch.ones(2), n_plain_rows=2):
            leading = call(unet, 4)
    assert torch.equal(leading[:2], plain[:2])
    torch.testing.assert_close(leading, out)
    assert torch.equal(out[:2], plain[:2])
    assert not torch.equal(both[:2], plain[:2])
    assert torch.equal(both[2:], out[2:])


def test_rows_that_hear_a_group_alone_are_attended_to_and_nothing_else_changes() -> None:
    unet = tiny_unet()
    adapter, tokens = trained_adapter(unet), random_tokens(4)
    assert tokens.like is not None
    assert tokens.dislike is not None
    likes, dislikes = tokens.like.clone(), tokens.dislike.clone()
    likes[:2] = dislikes[1:] = 0
    apart = UserTokens(like=likes, dislike=dislikes)
    with adapter.injected(unet), adapter.users(apart):
        assert adapter.state is not None
        assert {name: group.span for name, group in adapter.state.groups.items()} == {
            "like": slice(2, 4),
            "dislike": slice(0, 1),
        }
        all_rows = call(unet, 4)
    with torch.no_grad(), adapter.injected(unet), adapter.users(apart):
        spans = call(unet, 4)
        assert adapter.state is not None
        kept = {name: len(key) for (_, name, _), (key, _) in adapter.state.keys_values.items()}
    assert kept == {"like": 2, "dislike": 1}
    torch.testing.assert_close(spans, all_rows.detach())
    plain = call(unet, 4).detach()
    assert torch.equal(spans[1], plain[1])
    assert not any(torch.equal(spans[row], plain[row]) for row in (0, 2, 3))


def test_state_is_restored_after_an_error_and_may_nest() -> None:
    unet = tiny_unet()
    adapter, tokens = trained_adapter(unet), random_tokens(3)

    def fail_inside() -> None:
        with adapter.injected(unet), adapter.users(tokens):
            outer = adapter.state
            with adapter.users(None):
                assert adapter.state is None
            assert adapter.state is outer
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_inside()
    assert adapter.state is None
    assert all(type(p) is AttnProcessor2_0 for p in unet.attn_processors.values())


def test_mistakes_are_told() -> None:
    unet = tiny_unet()
    adapter, tokens = UserAdapter.for_network(unet, ("like",)), random_tokens(3)
    likes = UserTokens(like=tokens.like)
    with pytest.raises(PrefGenError, match="groups like, got dislike"), adapter.users(tokens):
        pass
    with pytest.raises(PrefGenError, match="width 32, got 16"), adapter.users(UserTokens(like=torch.zeros(1, 1, 16))):
        pass
    with pytest.raises(PrefGenError, match="each of 3 rows"), adapter.users(likes, torch.ones(2)):
        pass
    with pytest.raises(PrefGenError, match="layers that attend to text"), adapter.injected(tiny_sdxl_unet()):
        pass
    with pytest.raises(PrefGenError, match=r"batch of 0 \+ 3 rows"), adapter.injected(unet), adapter.users(likes):
        call(unet, 6)
    with adapter.injected(unet):
        with pytest.raises(PrefGenError, match="injected already"):
            adapter.inject(unet)
        with pytest.raises(PrefGenError, match="UserAttentionProcessor"):
            UserAdapter.for_network(unet).inject(unet)
    with pytest.raises(PrefGenError, match="hint: did you mean 'like'"):
        UserAdapter.for_network(unet, ("likes",))
    with pytest.raises(PrefGenError, match="'zero' or 'copy'"):
        UserAdapter.for_network(unet, init="ones")


def test_failed_injection_leaves_no_trace() -> None:
    unet = tiny_unet(cross_attention_dim=16)
    adapter = UserAdapter.for_network(tiny_unet())
    with pytest.raises(PrefGenError, match="to map"):
        adapter.inject(unet)
    assert not adapter.is_injected
    assert all(type(p) is AttnProcessor2_0 for p in unet.attn_processors.values())
