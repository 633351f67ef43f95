"""A training step of the embedded generator in bfloat16 and in float32, by turns in one process.

    python benchmarks/training_precision.py -o results/training_precision.json

Tells whether `prefgen.recipes.precision` takes the faster one on this CPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prefgen.benchmark.statistics import ratio_interval
from prefgen.recipes.attention import written_out_attention
from prefgen.recipes.generator import new_unet
from prefgen.recipes.precision import NATIVE, has_bfloat16
from prefgen.recipes.presets import preset_named

COMMAND = "python benchmarks/training_precision.py -o results/training_precision.json"


def seconds_a_step(unet: Any, optimizer: torch.optim.Optimizer, batch: tuple[torch.Tensor, ...], bf16: bool) -> float:
    """One step, as `prefgen.recipes.loop` takes it."""
    started = time.perf_counter()
    latents, times, text = batch
    with written_out_attention(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = (unet(latents, times, text).sample.float() - latents).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("results/training_precision.json"))
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--turns", type=int, default=8)
    arguments = parser.parse_args()
    preset = preset_named(arguments.preset)
    torch.manual_seed(0)
    unet: Any = new_unet(preset).train()
    optimizer = torch.optim.AdamW(unet.parameters(), 1e-4, fused=True)
    side = unet.config.sample_size
    batch = (
        torch.randn(preset.unet_batch, preset.latent_channels, side, side),
        torch.rand(preset.unet_batch) * 1000,
        torch.randn(preset.unet_batch, preset.text_length, preset.text_width),
    )
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(arguments.turns + 1):
        for bf16 in (True, False):
            taken = seconds_a_step(unet, optimizer, batch, bf16)
            if turn:
                seconds[bf16].append(taken)
    ratio = ratio_interval(np.array(seconds[True]), np.array(seconds[False]))
    capabilities = torch.cpu.get_capabilities()
    told = {
        "command": COMMAND,
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "cpu": {name: bool(capabilities.get(name)) for name in (*NATIVE, "avx512_f", "avx2")},
        "threads": torch.get_num_threads(),
        "batch": preset.unet_batch,
        "bfloat16_over_float32": asdict(ratio),
        "taken": "bfloat16" if has_bfloat16() else "float32",
    }
    arguments.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told["bfloat16_over_float32"]))


if __name__ == "__main__":
    main()
