"""Seconds and memory of calls taken in turns, on whatever device there is, kept in a file after every round.

Calls of one part are timed one after another, round by round, so that ratios between them are of the same minutes. A
call that fails or runs out of memory is written down with its message and left out of later rounds; the others go on.
"""

from __future__ import annotations

import gc
import json
import math
import platform
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prefgen.benchmark.statistics import Estimate, mean_interval, ratio_interval
from prefgen.pipeline.atomic import write_whole
from prefgen.pipeline.untrained.base import is_out_of_memory

MEASURED, FAILED, OUT_OF_MEMORY, BEGUN = "measured", "failed", "out of memory", "begun"


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is timed, `around` each of its turns what is not."""

    run: Callable[[], object]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(kw_only=True, eq=False)
class Measurement:
    """One file's worth: `head` says what was run, `parts` what came out."""

    device: torch.device
    n_rounds: int
    path: Path
    head: Mapping[str, Any]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def part(self, name: str, measure: Callable[[Measurement, str], None]) -> None:
        """Runs one part and writes the file, whatever happens to it. An interrupt goes on up."""
        self.parts[name] = {"state": BEGUN, "calls": {}}
        self.write()
        try:
            measure(self, name)
        except Exception as error:
            self.parts[name] |= failure(error)
        else:
            states = [call["state"] for call in self.parts[name]["calls"].values()]
            self.parts[name]["state"] = next((state for state in states if state != MEASURED), MEASURED)
        self.write()
        emptied(self.device)

    def rounds(self, name: str, calls: Mapping[str, Call]) -> None:
        """Times the calls of a part in turns: one round that is not counted, then `n_rounds`."""
        found = self.parts[name]["calls"]
        found |= {key: {"state": BEGUN, "n": 0, "rounds_s": []} for key in calls}
        for counted in (False, *[True] * self.n_rounds):
            for key, call in calls.items():
                if found[key]["state"] == BEGUN:
                    self._turn(found[key], call, counted=counted)
            self.parts[name]["ratios"] = ratios_of({key: one["rounds_s"] for key, one in found.items()})
            self.write()
        for one in found.values():
            one["state"] = MEASURED if one["state"] == BEGUN else one["state"]

    def _turn(self, told: dict[str, Any], call: Call, *, counted: bool) -> None:
        try:
            with call.around():
                seconds, memory = timed(call.run, self.device)
        except Exception as error:
            told |= failure(error)
            emptied(self.device)
            return
        told["memory"] = memory | {"bytes": max(memory["bytes"], told.get("memory", memory)["bytes"])}
        if counted:
            told["rounds_s"].append(seconds)
            told |= {"n": len(told["rounds_s"]), "seconds": spoken(mean_interval(np.array(told["rounds_s"])))}

    @property
    def failures(self) -> dict[str, str]:
        """The message of every part and call that was not measured, by name."""
        told: dict[str, str] = {}
        for name, part in self.parts.items():
            if "message" in part:
                told[name] = part["message"]
            told |= {f"{name}: {key}": one["message"] for key, one in part["calls"].items() if "message" in one}
        return told

    def write(self) -> None:
        """The file as things stand."""
        whole = {**self.head, "parts": self.parts, "failures": self.failures}
        write_whole(self.path, (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode())


def timed(run: Callable[[], object], device: torch.device) -> tuple[float, dict[str, Any]]:
    """Seconds of one call and the most memory that was taken."""
    with peak_of(device) as memory:
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    return seconds, memory


@contextmanager
def peak_of(device: torch.device) -> Iterator[dict[str, Any]]:
    """The most bytes held while open, told at the end; what they are of depends on the device."""
    told: dict[str, Any] = {}
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    yield told
    if device.type == "cuda":
        told |= {"bytes": torch.cuda.max_memory_allocated(device), "of": "tensors on the card, peak of the call"}
        return
    unit = 1 if sys.platform == "darwin" else 1024
    n_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    told |= {"bytes": n_bytes, "of": "peak RSS of the whole process since its start, libraries included"}


def emptied(device: torch.device) -> None:
    """Lets go of what nobody holds any more, so that the next call finds the room."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def failure(error: Exception) -> dict[str, str]:
    """What is written of a call that did not end; its traceback goes to stderr."""
    traceback.print_exception(error, file=sys.stderr)
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    state = OUT_OF_MEMORY if is_out_of_memory(error) else FAILED
    traceback.clear_frames(error.__traceback__)  # they hold the models that there was no room for
    return {"state": state, "message": f"{type(error).__name__}: {first[:300]}"}


def ratios_of(seconds: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Mean seconds of each call over those of the calls before it, paired by round, with 95 % intervals."""
    names, found = list(seconds), {}
    for k, below in enumerate(names):
        for above in names[k + 1 :]:
            a, b = seconds[above], seconds[below]
            n = min(len(a), len(b))
            if n > 1:
                found[f"{above} / {below}"] = spoken(ratio_interval(np.array(a[:n]), np.array(b[:n])))
    return found


def spoken(estimate: Estimate) -> dict[str, Any]:
    """A figure with its interval over `n` rounds for the file; null where it cannot be said."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(estimate).items()}


def device_told(device: torch.device) -> dict[str, Any]:
    """Which device it was."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {"kind": "cuda", "name": properties.name, "bytes": properties.total_memory}
    name = platform.processor() or platform.machine()
    return {"kind": device.type, "name": name, "threads": torch.get_num_threads()}
