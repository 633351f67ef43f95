"""The precision of training on a CPU: bfloat16 where its cores multiply it, float32 elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

NATIVE = ("amx_bf16", "avx512_bf16")
"""What a CPU that multiplies bfloat16 says of itself."""


@cache
def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself.

    Where it does not, PyTorch converts back and forth: the generator's step then takes 2.5 times as long in bfloat16 as
    in float32 (`benchmarks/training_precision.py`, `results/training_precision.json`).
    """
    told: Any = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = told()
    return any(capabilities.get(name, False) for name in NATIVE)


def fast_autocast(enabled: bool = True) -> torch.autocast:
    """Autocast to bfloat16 on the CPU where that is the faster way, and nothing elsewhere."""
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled and has_bfloat16())
