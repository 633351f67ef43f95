"""What a full preset takes, told before any work: parameters, memory, disk and operations, stage by stage.

Everything is counted on the meta device from published configurations; memory beside weights, gradients and optimiser
is an estimate (`prefgen.recipes.counting` says of what), and so is its sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from prefgen.core import ConfigError
from prefgen.recipes.counting import StepCount
from prefgen.recipes.four_bit import BYTES_A_WEIGHT, four_bit_layers
from prefgen.recipes.full_presets import BYTES_OF, FullPreset, published
from prefgen.recipes.full_steps import (
    N_LAYERS,
    adapter_step,
    d_lm_of,
    d_user_of,
    latent_shape,
    lora_step,
    meta_lora,
    meta_personal,
    meta_user_encoder,
    text_shapes,
)
from prefgen.recipes.meta_models import meta_network, meta_part, n_linear_weights, n_parameters
from prefgen.recipes.sharding import layers_of

GIB = 2**30
ADAM_BYTES = 8
"""Bytes a trained parameter for AdamW's two moments in float32."""
PICTURES_A_PERSON, DIVISIONS = 20, 3
"""As many pictures as one of the paper's 50,153 people has (arXiv 2512.06020), each divided three times into a history
and pictures to be painted."""
CHECKPOINT_BYTES = 20
"""Bytes a trained parameter: itself, its average, two moments, and the best so far, in float32."""
TFLOPS = 100.0
"""At what speed a step's seconds are told; a card of 2023 reaches more in bfloat16, never its page's figure."""
RESERVED = 1.0 * GIB
"""What the driver and the libraries keep of a card (an estimate)."""


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage: parameters by part, bytes on the card by kind, operations of a step of `batch` samples."""

    stage: str
    batch: int
    trainable: Mapping[str, int]
    frozen: Mapping[str, int]
    memory: Mapping[str, float]
    flops_per_step: int

    @property
    def vram(self) -> float:
        """Bytes that the card must have (an estimate)."""
        return sum(self.memory.values())

    @property
    def seconds(self) -> float:
        """Of a step at `TFLOPS`: counted, not measured."""
        return self.flops_per_step / (TFLOPS * 1e12)


@dataclass(frozen=True, kw_only=True)
class FullPlan:
    """Both stages, the bytes on disk by kind, and the parts that only prepare rows (parameters)."""

    preset: FullPreset
    stages: tuple[StagePlan, ...]
    disk: Mapping[str, int]
    preparing: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Everything, with the sums."""
        stages = [
            asdict(stage) | {"vram_estimate": stage.vram, f"seconds_per_step_at_{TFLOPS:.0f}_tflops": stage.seconds}
            for stage in self.stages
        ]
        return {
            "preset": asdict(self.preset),
            "stages": stages,
            "disk": dict(self.disk),
            "preparing": dict(self.preparing),
            "unit": "parameters, bytes, floating point operations (a multiply-add is two)",
        }


def plan_of(preset: FullPreset, *, steps: bool = True, n_cards: int = 1) -> FullPlan:
    """The plan of a preset. Without `steps`, which take minutes to count, operations and activations are 0. With
    `n_cards` above 1 weights are cut over so many (`--shard`), and memory is that of the first."""
    record = published(preset.backbone)
    encoders = {f"text encoder {k + 1}": part for k, part in enumerate(record["text_encoders"])}
    preparing = {name: _n_parameters_of(preset.backbone, name) for name in ("autoencoder", *encoders)}
    stages = _lora_stage(preset, steps, n_cards), _adapter_stage(preset, steps, n_cards)
    kept = {"checkpoints": sum(CHECKPOINT_BYTES * n for stage in stages for n in stage.trainable.values())}
    return FullPlan(preset=preset, stages=stages, disk={**_disk(preset), **kept}, preparing=preparing)


def check_room(preset: FullPreset, *, vram: float | None, disk: float | None, n_cards: int = 1) -> FullPlan:
    """The plan without its steps, if this machine has room for what is certain: weights, gradients and optimiser on a
    card of `vram` bytes, what is kept of pictures and people on a `disk` with as many free; None is not looked at.

    Raises:
        ConfigError: it has not; names what would help.
    """
    plan = plan_of(preset, steps=False, n_cards=n_cards)
    if vram is not None:
        check_fits(preset, vram / GIB, steps=False, n_cards=n_cards)
    needed = sum(plan.disk.values())
    if disk is not None and needed > disk:
        raise ConfigError(
            f"{preset.name} keeps about {needed / GIB:.1f} GB of {preset.n_pictures:,} pictures, "
            f"and {disk / GIB:.1f} GB are free",
            hint="another --work, on a larger disk; or fewer people",
        )
    return plan


def check_fits(preset: FullPreset, vram_gb: float, *, steps: bool = True, n_cards: int = 1) -> FullPlan:
    """The plan, if each stage fits a card of `vram_gb` GB (2³⁰ bytes each).

    Raises:
        ConfigError: names the stage and the flags that would make it fit, or says how little it can be made.
    """
    plan = plan_of(preset, steps=steps, n_cards=n_cards)
    worst = max(plan.stages, key=lambda stage: stage.vram)
    if worst.vram <= vram_gb * GIB:
        return plan
    message = f"{preset.name} needs about {worst.vram / GIB:.1f} GB in its stage {worst.stage!r}, more than {vram_gb:g}"
    least, flags = worst.vram, []
    for flag, smaller in _smaller(preset, n_cards):
        found = max(stage.vram for stage in plan_of(smaller, steps=steps, n_cards=n_cards).stages)
        flags.append(flag)
        least = min(least, found)
        if found <= vram_gb * GIB:
            raise ConfigError(message, hint=f"with {' '.join(flags)} it is about {found / GIB:.1f} GB")
    told = f" with {' '.join(flags)}" if flags else ""
    raise ConfigError(
        message, hint=f"about {least / GIB:.1f} GB is the least{told}; take a smaller backbone or language model"
    )


def _smaller(preset: FullPreset, n_cards: int) -> Iterator[tuple[str, FullPreset]]:
    """Each flag that saves memory, with the preset under it and all flags before it; what changes least comes first.
    Several cards take a batch with a row for each, and no four bits."""
    if not preset.gradient_checkpointing:
        preset = preset.with_overrides(gradient_checkpointing=True)
        yield "--gradient-checkpointing", preset
    if preset.dtype == "float32":
        preset = preset.with_overrides(dtype="bf16")
        yield "--dtype bf16", preset
    if max(preset.adapter_batch, preset.mllm_batch) > n_cards:
        preset = preset.with_overrides(adapter_batch=n_cards, mllm_batch=n_cards)
        yield f"--batch {n_cards}", preset
    if not preset.load_4bit and n_cards == 1:
        preset = preset.with_overrides(load_4bit=True)
        yield "--load-4bit", preset
    if preset.ema:
        yield "--set ema=false", preset.with_overrides(ema=False)


def _adapter_stage(p: FullPreset, steps: bool, n_cards: int) -> StagePlan:
    network, linear, adapter, encoder, at_once = _adapter_parameters(p.backbone, p.mllm, p.user_tokens, p.d_clip)
    step = StepCount(flops=0, held=0)
    if steps:
        step = adapter_step(
            p.backbone, p.user_tokens, d_user_of(p), checkpointing=p.gradient_checkpointing, batch=p.adapter_batch
        )
    trainable = {"adapter": adapter, "user encoder": encoder}
    plan = _stage(p, "adapter", p.adapter_batch, trainable, {"generator": network}, linear, step.flops, step.held)
    if n_cards == 1:
        return plan
    return _cut(plan, n_cards, BYTES_OF[p.dtype] * at_once + 2 * 4 * encoder)


def _lora_stage(p: FullPreset, steps: bool, n_cards: int) -> StagePlan:
    frozen, linear, lora, at_once = _lora_parameters(p.mllm, p.lora_rank)
    step = StepCount(flops=0, held=0)
    if steps:
        checkpointing, batch = p.gradient_checkpointing, p.mllm_batch
        step = lora_step(
            p.mllm, p.lora_rank, p.history_pictures, p.text_tokens, checkpointing=checkpointing, batch=batch
        )
    rows = {"language model": frozen}
    plan = _stage(p, "preferences", p.mllm_batch, {"LoRA": lora}, rows, linear, step.flops, step.held, averaged=False)
    if n_cards == 1:
        return plan
    size = BYTES_OF[p.dtype]
    plan = _cut(plan, n_cards, size * at_once)
    reading = max(0.0, size * frozen + RESERVED - plan.vram)
    return replace(plan, memory={**plan.memory, "reading people by the whole model, more": reading})


def _cut(plan: StagePlan, n_cards: int, at_once: float) -> StagePlan:
    """A stage whose weights, and what goes with them, lie on several cards, each a part. `at_once` are the bytes of
    what is gathered at the same time."""
    kept = ("activations (estimate)", "driver and libraries (estimate)")
    memory = {kind: size if kind in kept else size / n_cards for kind, size in plan.memory.items()}
    memory["activations (estimate)"] *= -(-plan.batch // n_cards) / plan.batch
    return replace(plan, memory={**memory, "gathered in turn (estimate)": at_once})


def _gathered_at_once(network: Any) -> int:
    """Parameters that are whole at the same time where a network is cut: those outside of its layers, and two layers,
    since the next one is gathered while one computes."""
    seen: set[int] = set()
    sizes: list[int] = []
    for part in (*layers_of(network), network):
        own = {id(p): p.numel() for p in part.parameters() if id(p) not in seen}
        seen |= own.keys()
        sizes.append(sum(own.values()))
    return sizes[-1] + 2 * max(sizes[:-1])


def _stage(
    p: FullPreset,
    name: str,
    batch: int,
    trainable: Mapping[str, int],
    frozen: Mapping[str, int],
    n_linear: int,
    flops: int,
    held: int,
    averaged: bool = True,
) -> StagePlan:
    """Sums up one stage; `flops` and `held` are those of a whole step with the frozen parts in bfloat16."""
    n_trained, n_frozen, size = sum(trainable.values()), sum(frozen.values()), BYTES_OF[p.dtype]
    gradients = 4 * n_trained
    memory: dict[str, float] = {}
    if p.load_4bit:
        memory["frozen weights, 4 bit"] = n_linear * BYTES_A_WEIGHT
        n_frozen -= n_linear
    memory[f"frozen weights, {p.dtype}"] = n_frozen * size
    memory["trained weights, float32"] = 4 * n_trained
    memory["averaged weights, float32"] = 4 * n_trained if averaged and p.ema else 0
    memory["gradients, float32"] = gradients
    memory["optimiser, float32"] = ADAM_BYTES * n_trained
    memory["activations (estimate)"] = max(held - gradients, 0) * size / 2
    memory["driver and libraries (estimate)"] = RESERVED
    return StagePlan(stage=name, batch=batch, trainable=trainable, frozen=frozen, memory=memory, flops_per_step=flops)


def _disk(p: FullPreset) -> dict[str, int]:
    """Bytes of what is kept of pictures and people, by kind, two a number. Every picture has a prompt of its own here,
    which is the most that there can be."""
    channels, height, width = latent_shape(p.backbone)
    text = sum(_product(shape) for shape in text_shapes(p.backbone).values())
    d_lm, record = d_lm_of(p.mllm), published(p.mllm)
    n_levels = 1 + len(record["config"]["vision_config"].get("deepstack_visual_indexes", ()))
    n_tokens = n_levels * record["tokens_per_picture"]
    a_person = DIVISIONS * 2 * len(("last", "mean")) * 2 * N_LAYERS * d_lm
    numbers = {
        "latents": channels * height * width * p.n_pictures,
        "text embeddings": text * p.n_pictures,
        "picture tokens": n_tokens * d_lm * p.n_pictures,
        "picture embeddings": p.d_clip * p.n_pictures,
        "hidden states": a_person * p.n_pictures // PICTURES_A_PERSON,
    }
    return {kind: 2 * n for kind, n in numbers.items()}


def _product(shape: tuple[int, ...]) -> int:
    return shape[0] * (_product(shape[1:]) if len(shape) > 1 else 1)


@lru_cache
def _adapter_parameters(backbone: str, mllm: str, user_tokens: int, d_clip: int) -> tuple[int, int, int, int, int]:
    """Of the network all, those that four bits hold, the adapter's, the user encoder's, and of the network those that
    are gathered at once where it is cut."""
    network = meta_network(backbone)
    preset = FullPreset(name="", backbone=backbone, mllm=mllm, user_tokens=user_tokens, d_clip=d_clip)
    adapter = meta_personal(preset, network).adapter
    encoder = meta_user_encoder(preset, adapter.d_cross)
    n_linear = sum(layer.weight.numel() for layer in four_bit_layers(network).values())
    return n_parameters(network), n_linear, n_parameters(adapter), n_parameters(encoder), _gathered_at_once(network)


@lru_cache
def _lora_parameters(mllm: str, rank: int) -> tuple[int, int, int, int]:
    """Frozen parameters, those of them that four bits hold, the trained ones, and those gathered at once where cut."""
    tuned = meta_lora(mllm, rank)
    n_linear = n_linear_weights(tuned) - n_linear_weights(tuned.get_base_model().get_output_embeddings())
    frozen, trained = (n_parameters(tuned, trainable=one) for one in (False, True))
    return frozen, n_linear, trained, _gathered_at_once(tuned)


@lru_cache
def _n_parameters_of(backbone: str, part: str) -> int:
    record = published(backbone)
    chosen = record["vae"] if part == "autoencoder" else record["text_encoders"][int(part.split()[-1]) - 1]
    return n_parameters(meta_part(chosen))
