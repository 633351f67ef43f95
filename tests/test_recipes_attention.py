"""Attention written out gives what PyTorch's own gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from prefgen.recipes.attention import written_out, written_out_attention


def random_heads(n_heads: int, n: int, d: int = 8) -> torch.Tensor:
    return torch.randn(2, n_heads, n, d, requires_grad=True)


@pytest.mark.parametrize("masked", ["none", "bool", "additive", "causal"])
def test_written_out_attention_and_its_gradients_are_the_stock_ones(masked: str) -> None:
    torch.manual_seed(0)
    query, key, value = random_heads(4, 6), random_heads(4, 6), random_heads(4, 6)
    seen = torch.rand(2, 1, 6, 6) > 0.3
    seen[..., 0] = True
    mask = {"bool": seen, "additive": torch.zeros(2, 1, 6, 6).masked_fill(~seen, float("-inf"))}.get(masked)
    results = []
    for attention in (F.scaled_dot_product_attention, written_out):
        out = attention(query, key, value, attn_mask=mask, is_causal=masked == "causal")
        results.append((out, *torch.autograd.grad(out.square().sum(), (query, key, value))))
    for ours, stock in zip(*results, strict=True):
        torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-5)


def test_grouped_keys_are_shared_by_their_queries() -> None:
    torch.manual_seed(0)
    query, key, value = random_heads(4, 5), random_heads(2, 5), random_heads(2, 5)
    torch.testing.assert_close(
        written_out(query, key, value, enable_gqa=True, scale=0.3),
        F.scaled_dot_product_attention(query, key, value, enable_gqa=True, scale=0.3),
    )


def fail_within() -> None:
    with written_out_attention():
        assert F.scaled_dot_product_attention is written_out
        raise ZeroDivisionError


def test_the_stock_function_is_back_after_an_error() -> None:
    stock = F.scaled_dot_product_attention
    with pytest.raises(ZeroDivisionError):
        fail_within()
    assert F.scaled_dot_product_attention is stock
