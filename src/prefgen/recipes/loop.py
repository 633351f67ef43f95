"""One training loop for every stage: resumable bit for bit, bounded in minutes, and telling what it does.

A step's batch and noise depend on the step's number alone (`seed_of(stage, step)`), so the data cursor and every
random state are the step counter; with weights, EMA and optimiser state saved, a killed run resumes as if unbroken.

Several processes (`prefgen.recipes.ranks`) take their rows of the same batch: gradients are averaged by DDP, or by
FSDP2 where weights are cut over the ranks; a checkpoint is the same file either way, written by the first rank.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from prefgen.core import ModelError, seed_of
from prefgen.recipes import ranks
from prefgen.recipes.attention import written_out_attention
from prefgen.recipes.checkpoint import (
    load_metadata,
    load_tensors,
    optimizer_tensors,
    restore_optimizer,
    save_json,
    save_tensors,
    under_prefix,
    with_prefix,
)
from prefgen.recipes.precision import fast_autocast
from prefgen.recipes.sharding import Cut, LossOfStep, cut_like, over_all_ranks, to_be_written

T = TypeVar("T")


@dataclass(kw_only=True)
class Deadline:
    """When this call must stop. `minutes` None means never."""

    minutes: float | None = None
    start_s: float = field(default_factory=time.monotonic)

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return self.minutes is not None and time.monotonic() - self.start_s > self.minutes * 60


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Settings of one stage's loop; progress counts samples."""

    n_samples: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup_samples: int = 2_000
    decay_fraction: float = 0.25
    """Share of the samples, at the end, over which the learning rate falls to a twentieth."""
    ema_decay: float = 0.0
    clip_norm: float = 1.0
    beta2: float = 0.99
    seed: int = 0
    bf16: bool = True
    """Multiply in bfloat16 where the CPU does so itself (`prefgen.recipes.precision`)."""
    save_every_s: float = 120.0
    show_every: int = 24_000
    """A look at validation people after this many samples."""
    log_every_s: float = 20.0

    def rate_at(self, n_seen: int) -> float:
        """Learning rate after `n_seen` samples: linear warm-up, constant, linear decay."""
        warm = min(1.0, (n_seen + self.batch_size) / max(self.warmup_samples, 1))
        start = self.n_samples * (1 - self.decay_fraction)
        late = max(0.0, (n_seen - start) / max(self.n_samples - start, 1))
        return self.learning_rate * warm * (1 - 0.95 * min(late, 1.0))


class Unfinished(Exception):
    """Raised when the time of this call is up before the stage is done; the same command resumes."""


def first_then_all(function: Callable[[], T]) -> T:
    """What `function` computes once and keeps in files: the first rank calls it before all others do, and where its
    time is up, it is up for all.

    Raises:
        Unfinished: the first rank's call raised it.
    """
    if ranks.n_ranks() == 1:
        return function()
    made: list[T] = []
    told = ""
    if ranks.is_first():
        try:
            with ranks.alone():
                made.append(function())
        except Unfinished as stop:
            told = str(stop)
    if ranks.agreed(int(not made)):
        raise Unfinished(told)
    if not made:
        with ranks.alone():
            made.append(function())
    return made[0]


class Loop:
    """Trains `module` on `loss_fn(step, generator) -> {"loss": tensor, ...}` until `n_samples` have been seen.

    With `cut`, weights are cut over the ranks (FSDP2) where there are several; else each of them holds all.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        module: nn.Module,
        loss_fn: LossOfStep,
        settings: LoopSettings,
        validate_fn: Callable[[nn.Module, int], Mapping[str, float]] | None = None,
        show_fn: Callable[[int], None] | None = None,
        made_from: str = "",
        cut: Cut | None = None,
    ) -> None:
        ranks.same_everywhere(module)
        self.name, self.folder, self.module = name, folder, module
        self.loss_fn, self.settings, self.validate_fn = loss_fn, settings, validate_fn
        self.show_fn = show_fn
        self.made_from = made_from
        self.is_cut = cut is not None and ranks.n_ranks() > 1
        self.losses_of, self._unlearning = over_all_ranks(module, loss_fn, cut)
        self.parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()),
            settings.learning_rate,
            betas=(0.9, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.ema = {k: p.detach().clone() for k, p in self.parameters.items()} if settings.ema_decay else {}
        self.step = 0
        self.trained_s = 0.0

    @property
    def n_seen(self) -> int:
        """Samples seen so far."""
        return self.step * self.settings.batch_size

    @property
    def path(self) -> Path:
        """The checkpoint file."""
        return self.folder / f"{self.name}.checkpoint.safetensors"

    def save(self) -> None:
        """Writes weights, EMA, optimiser and step. With several ranks the first one writes; all must call where
        weights are cut."""
        if not ranks.is_first() and not self.is_cut:
            return
        tensors = {
            **with_prefix("model", self.whole_parameters()),
            **with_prefix("buffer", to_be_written(dict(self.module.named_buffers()))),
            **with_prefix("ema", to_be_written(self.ema)),
            **with_prefix("optimizer", to_be_written(optimizer_tensors(self.optimizer))),
            "step": torch.tensor(self.step),
            "trained_s": torch.tensor(self.trained_s, dtype=torch.float64),
        }
        if ranks.is_first():
            save_tensors(self.path, tensors, {"made_from": self.made_from})

    def whole_parameters(self) -> dict[str, Tensor]:
        """What is trained, by name. Where it is cut over the ranks, whole on the first alone; all must ask."""
        return to_be_written({k: p.detach() for k, p in self.parameters.items()})

    def measured(self, function: Callable[[], T]) -> T:
        """What `function` finds with the weights as they are. Where they are cut, all ranks must ask, and each finds it
        on the whole of its data."""
        return self._unlearning(function)

    def restore(self) -> bool:
        """Loads the checkpoint if there is one."""
        if not self.path.exists():
            return False
        if (made_from := load_metadata(self.path).get("made_from", "")) != self.made_from:
            raise ModelError(
                f"{self.path.name} was trained on other frozen parts ({made_from or 'unnamed'}) than lie here",
                hint=f"remove {self.path} to train this stage anew",
            )
        tensors = load_tensors(self.path)
        with torch.no_grad():
            for kind, target in (
                ("model", self.parameters),
                ("buffer", dict(self.module.named_buffers())),
                ("ema", self.ema),
            ):
                for key, value in under_prefix(kind, tensors).items():
                    target[key].copy_(cut_like(value, target[key]))
        restore_optimizer(self.optimizer, under_prefix("optimizer", tensors))
        self.step, self.trained_s = int(tensors["step"]), float(tensors["trained_s"])
        return True

    def use_ema(self) -> None:
        """Puts the averaged weights into the module (for saving or evaluation after training)."""
        with torch.no_grad():
            for key, value in self.ema.items():
                self.parameters[key].copy_(value)

    def _average(self) -> None:
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, average in self.ema.items():
                average.lerp_(self.parameters[key], 1 - decay)

    def one_step(self) -> dict[str, float]:
        """One optimiser step; everything random in it comes from the step's number.

        Attention is written out: on CPUs the fused kernel's backward pass took half of a network's whole step.
        """
        s = self.settings
        seed = seed_of(self.name, s.seed, self.step)
        torch.manual_seed(seed)
        for group in self.optimizer.param_groups:
            group["lr"] = s.rate_at(self.n_seen)
        self.module.train()
        with written_out_attention(), fast_autocast(s.bf16):
            losses = self.losses_of(self.step, torch.Generator().manual_seed(seed))
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), s.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.ema:
            self._average()
        return {k: float(v.detach()) for k, v in losses.items()}

    def run(self, deadline: Deadline) -> None:
        """Trains to the end, or to the deadline (then saves and raises `Unfinished`)."""
        self.restore()
        last_save = last_log = begin = time.monotonic()
        sums: dict[str, float] = {}
        n_logged, first_step = 0, self.step
        while self.n_seen < self.settings.n_samples:
            for key, value in self.one_step().items():
                sums[key] = sums.get(key, 0.0) + value
            n_logged += 1
            if self._pictures_due():
                self._show()
            now = time.monotonic()
            if now - last_log > self.settings.log_every_s and ranks.is_first():
                self._log({k: v / n_logged for k, v in sums.items()}, (self.step - first_step) / (now - begin))
                sums, n_logged, last_log = {}, 0, now
            over = deadline.passed
            due = ranks.agreed(2 * over + (now - last_save > self.settings.save_every_s))
            if due:
                self.trained_s += now - last_save
                self.save()
                last_save = now
                if due >= 2:
                    ranks.wait()
                    raise Unfinished(f"{self.name}: {self.n_seen} of {self.settings.n_samples} samples")
        self.trained_s += time.monotonic() - last_save
        self.save()
        self._report()
        ranks.wait()

    def _pictures_due(self) -> bool:
        every, before = self.settings.show_every, self.n_seen - self.settings.batch_size
        return self.show_fn is not None and self.n_seen // every != before // every

    def _show(self) -> None:
        """A look at the averaged weights, which are put back afterwards: by the first rank, or by all of them where
        weights are cut, since each holds a part."""
        if not ranks.is_first() and not self.is_cut:
            return
        kept = {k: p.detach().clone() for k, p in self.parameters.items()}
        self.use_ema()
        self.module.eval()
        assert self.show_fn is not None
        self.show_fn(self.n_seen)
        with torch.no_grad():
            for key, value in kept.items():
                self.parameters[key].copy_(value)

    def _log(self, means: Mapping[str, float], steps_per_s: float) -> None:
        s = self.settings
        left_s = (s.n_samples - self.n_seen) / max(steps_per_s * s.batch_size, 1e-9)
        losses = " ".join(f"{k} {v:.4f}" for k, v in means.items())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        speed = f"{steps_per_s * s.batch_size:.1f}/s"
        line = f"{self.name} {self.n_seen}/{s.n_samples} {speed} {losses} {left_s / 60:.0f} min left, {memory:.1f} GiB"
        print(line, file=sys.stderr, flush=True)
        with (self.folder / f"{self.name}.log.jsonl").open("a") as log:
            log.write(json.dumps({"samples": self.n_seen, **means}) + "\n")

    def _report(self) -> None:
        """Validates on the first rank; on all of them where weights are cut, since each holds a part."""
        if not ranks.is_first() and not self.is_cut:
            return
        report: dict[str, float] = {"samples": self.n_seen, "minutes": self.trained_s / 60}
        if validate := self.validate_fn:
            report |= self.measured(lambda: validate(self.module, self.n_seen))
        if not ranks.is_first():
            return
        save_json(self.folder / f"{self.name}.report.json", report)
        print(f"{self.name} done: {json.dumps(report)}", file=sys.stderr, flush=True)
