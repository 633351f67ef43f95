"""What the person costs: seconds per picture with and without, measured in turn in the same minutes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from prefgen.adapter import UserTokens, to_ip_adapter_state
from prefgen.benchmark.chain import Chain, tokens_of_shelf
from prefgen.benchmark.results import Results, Row
from prefgen.benchmark.tasks import Shelf
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.diffusion import sample
from prefgen.embedding import SIDES

N_PICTURES = 4


def stock_pipeline(chain: Chain) -> Any:
    """A copy of the pipeline with likes and dislikes loaded as two stock diffusers IP-Adapters.

    Raises whatever diffusers raises where this backbone or these tokens do not fit its loader.
    """
    parts = {**chain.pipe.components, "unet": deepcopy(chain.pipe.unet)}
    pipe = type(chain.pipe)(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            projector = chain.user_encoder.side(side).projector
            state = to_ip_adapter_state(chain.adapter, side, projector.state_dict())  # pyright: ignore[reportArgumentType]
            save_file({k: v.float().cpu() for k, v in state.items()}, Path(folder) / f"{side}.safetensors")
        names = [f"{side}.safetensors" for side in SIDES]
        pipe.load_ip_adapter([folder] * 2, subfolder=["", ""], weight_name=names, image_encoder_folder=None)
    return pipe


def _runs(
    chain: Chain, prompt: str, tokens: UserTokens, n_steps: int, user_start: float, user_end: float
) -> dict[str, Callable[[], Any]]:
    settings: dict[str, Any] = {"guidance_scale": 3.0, "num_inference_steps": n_steps}
    heard: dict[str, Any] = {"user_start": user_start, "user_end": user_end}

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(i) for i in range(N_PICTURES)]

    def run(tokens: UserTokens | None) -> Any:
        adapter = None if tokens is None else chain.adapter
        return sample(chain.pipe, adapter, [prompt] * N_PICTURES, tokens, generators=generators(), **settings, **heard)

    runs: dict[str, Callable[[], Any]] = {
        "prompt": lambda: run(None),
        "prefgen": lambda: run(tokens.repeat(N_PICTURES)),
    }
    try:
        stock = stock_pipeline(chain)
        width = chain.user_encoder.side("like").projector.proj[0].in_features
        embeds = [torch.cat([torch.zeros(N_PICTURES, 1, width), torch.ones(N_PICTURES, 1, width)])] * len(SIDES)
        runs["stock_ip_adapter"] = lambda: stock(
            [prompt] * N_PICTURES, generator=generators(), ip_adapter_image_embeds=embeds, **settings
        )
        runs["stock_ip_adapter"]()
    except (AttributeError, ImportError, KeyError, RuntimeError, TypeError, ValueError):
        runs.pop("stock_ip_adapter", None)
    return runs


def interleaved_seconds(runs: dict[str, Callable[[], Any]], n_rounds: int) -> dict[str, np.ndarray]:
    """Seconds per call [n_rounds], every round timing each run once, in an order that turns."""
    names = list(runs)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        runs[name]()
    for k in range(n_rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            start = time.perf_counter()
            runs[name]()
            taken[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in taken.items()}


class Seconds:
    """`seconds_per_image`, `seconds_per_image_of_prompt` (the ratio of the same round, median and quartiles), and
    `seconds_per_profile`, with stock diffusers' IP-Adapter beside ours where it can be loaded. The person is heard in
    the steps that tuning chose.
    """

    name = "seconds_per_image"

    def measure(self, results: Results) -> list[Row]:
        """Rows of the prompt alone, ours, and the stock adapter. Other programs on the machine make them unsteady."""
        if results.bench is None or not results.cases:
            return []
        bench, case = results.bench, results.cases[0]
        start = time.perf_counter()
        unseen = Shelf(owner=case.shelf.owner, shown=case.shelf.shown[::-1])  # another order: no cache knows it
        tokens = tokens_of_shelf(bench.chain, unseen)
        rows = [Row(method="prefgen", metric="seconds_per_profile", value=time.perf_counter() - start, n=1)]
        tokens = tokens.row(0)
        tuned = tuned_parameters("prefgen")
        interval = tuned.get("user_start", 0.0), tuned.get("user_end", 1.0)
        n_rounds = 4 if results.quick else 12
        runs = _runs(bench.chain, "a fox by a lake", tokens, bench.sampling.n_steps, *interval)
        taken = interleaved_seconds(runs, n_rounds)
        for method in ("prompt", "prefgen", "stock_ip_adapter"):
            if method not in taken:
                rows.append(Row(method=method, metric=f"{self.name}_of_prompt", value=float("nan")))
                continue
            rows.append(_quartiles(method, self.name, taken[method] / N_PICTURES))
            if method != "prompt":
                rows.append(_quartiles(method, f"{self.name}_of_prompt", taken[method] / taken["prompt"]))
        return rows


def _quartiles(method: str, metric: str, values: np.ndarray) -> Row:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return Row(method=method, metric=metric, value=middle, low=low, high=high, n=len(values))
