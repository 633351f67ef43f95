"""Training multiplies in bfloat16 only where the CPU does so itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from prefgen.recipes.precision import fast_autocast, has_bfloat16


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    has_bfloat16.cache_clear()
    yield
    has_bfloat16.cache_clear()


def product() -> torch.Tensor:
    return torch.ones(2, 3) @ torch.ones(3, 2)


@pytest.mark.parametrize(
    ("told", "dtype"),
    [
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True}, torch.float32),
        ({"architecture": "aarch64"}, torch.float32),
    ],
)
def test_bfloat16_follows_what_the_cpu_says(
    told: dict[str, object], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)
    with fast_autocast():
        assert product().dtype == dtype
    with fast_autocast(False):
        assert product().dtype == torch.float32


def test_a_torch_that_does_not_tell_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16()
