"""A real run of a full preset: published weights by name, prepared rows, and the adapter's training on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from prefgen.adapter import network_of
from prefgen.pipeline.loading import check_pipeline, device_named, dtype_named, loaded
from prefgen.recipes import ranks
from prefgen.recipes.backbone_adapter import PersonalBackbone, train_backbone_adapter
from prefgen.recipes.four_bit import check_bitsandbytes, quantise
from prefgen.recipes.full_people.parts import weights_of
from prefgen.recipes.full_presets import FullPreset, published
from prefgen.recipes.loop import Deadline, LoopSettings, Unfinished
from prefgen.recipes.prepared_rows import RowFolder
from prefgen.recipes.sharding import check_cut


def train_full(
    preset: FullPreset,
    *,
    work: Path,
    out: Path,
    max_minutes: float | None = None,
    n_processes: int | None = None,
    shard: bool = False,
) -> bool:
    """Trains the adapter of a full preset on the rows in `work/rows` and saves it in `out`. Returns whether it is done.
    Several processes divide each batch and, with `shard`, cut the weights among them (FSDP2).

    Raises:
        ConfigError: weights cannot be cut.
        ModelError: the generator's weights are not on this machine, or bitsandbytes is not, which four bits need.
        DataError: there are no prepared rows.
    """
    if preset.load_4bit:
        check_bitsandbytes()
    if shard:
        check_cut(ranks.launched(), four_bit=preset.load_4bit)
    with ranks.joined(n_processes):
        return _trained(preset, work, out, max_minutes, shard)


def _trained(preset: FullPreset, work: Path, out: Path, max_minutes: float | None, shard: bool) -> bool:
    folder = weights_of(preset.generator or published(preset.backbone)["hub"], check_pipeline)
    rows = RowFolder(work / "rows")
    pipe = _pipeline(folder, preset)
    device, d_user = device_named("auto"), rows.rows([0]).like.shape[-1]
    model = _personal(network_of(pipe), preset, d_user=d_user, device="cpu" if shard else device)
    settings = LoopSettings(
        n_samples=preset.adapter_samples,
        batch_size=preset.adapter_batch,
        learning_rate=preset.adapter_rate,
        ema_decay=0.9999 if preset.ema else 0.0,
        bf16=False,
        seed=preset.seed,
        save_every_s=1800.0,  # a checkpoint of SDXL's adapter takes 11 GB
    )
    try:
        model = train_backbone_adapter(
            model,
            pipe.scheduler,
            rows,
            work,
            settings,
            deadline=Deadline(minutes=max_minutes),
            gradient_checkpointing=preset.gradient_checkpointing,
            cut_on=device if shard else None,
        )
    except Unfinished:
        return False
    if ranks.is_first():
        model.save(out)
    ranks.wait()
    return True


def _personal(network: nn.Module, preset: FullPreset, *, d_user: int, device: torch.device | str) -> PersonalBackbone:
    """What is trained, with the network that it starts from, in four bits if asked."""
    if not preset.load_4bit:
        network.to(device)
    torch.manual_seed(preset.seed)  # the projector starts at random
    model = PersonalBackbone.for_network(network, d_user=d_user, n_tokens=preset.user_tokens)
    if preset.load_4bit:  # only now: the adapter copies keys and values as they were
        quantise(network, device)
    return model.to(device)


def _pipeline(folder: Path, preset: FullPreset) -> Any:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    dtype = dtype_named("bfloat16" if preset.dtype == "bf16" else preset.dtype)
    return loaded(
        "generator",
        lambda: DiffusionPipeline.from_pretrained(
            folder, torch_dtype=dtype, local_files_only=True, use_safetensors=True
        ),
    )
