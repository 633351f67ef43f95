"""A real run of a full preset: published weights by name, prepared rows, and the adapter's training on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefgen.adapter import network_of
from prefgen.core import ConfigError, ModelError
from prefgen.pipeline.loading import check_pipeline, device_named, dtype_named, folder_of, loaded
from prefgen.recipes.backbone_adapter import PersonalBackbone, train_backbone_adapter
from prefgen.recipes.full_presets import FullPreset, published
from prefgen.recipes.loop import Deadline, LoopSettings, Unfinished
from prefgen.recipes.prepared_rows import RowFolder


def weights_of(record: str) -> Path:
    """The folder of a published model's weights on this machine.

    Raises:
        ModelError: they are not here; nothing is downloaded unasked.
    """
    name = published(record)["hub"]
    try:
        folder = folder_of(name, local_files_only=True)
    except ModelError as error:
        raise ModelError(
            f"the weights of {name} are not on this machine",
            hint=f"download them first, after reading their licence: hf download {name}",
        ) from error
    check_pipeline(folder)
    return folder


def train_full(preset: FullPreset, *, work: Path, out: Path, max_minutes: float | None = None) -> bool:
    """Trains the adapter of a full preset on the rows in `work/rows` and saves it in `out`. Returns whether it is done.

    Raises:
        ModelError: the generator's weights are not on this machine.
        DataError: there are no prepared rows.
        ConfigError: four bits, for which no loader is written yet.
    """
    folder = weights_of(preset.backbone)
    if preset.load_4bit:
        raise ConfigError(
            "training on a generator in 4 bits is planned for, not written",
            hint="take a card that holds it in bf16, and --no-load-4bit",
        )
    rows = RowFolder(work / "rows")
    pipe = _pipeline(folder, preset)
    network: Any = network_of(pipe).to(device_named("auto"))
    d_user = rows.rows([0]).like.shape[-1]
    model = PersonalBackbone.for_network(network, d_user=d_user, n_tokens=preset.user_tokens)
    settings = LoopSettings(
        n_samples=preset.adapter_samples,
        batch_size=preset.adapter_batch,
        learning_rate=preset.adapter_rate,
        ema_decay=0.9999 if preset.ema else 0.0,
        bf16=False,
        seed=preset.seed,
    )
    try:
        train_backbone_adapter(
            model,
            pipe.scheduler,
            rows,
            work,
            settings,
            deadline=Deadline(minutes=max_minutes),
            gradient_checkpointing=preset.gradient_checkpointing,
        )
    except Unfinished:
        return False
    model.save(out)
    return True


def _pipeline(folder: Path, preset: FullPreset) -> Any:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    dtype = dtype_named("bfloat16" if preset.dtype == "bf16" else preset.dtype)
    return loaded(
        "generator",
        lambda: DiffusionPipeline.from_pretrained(
            folder, torch_dtype=dtype, local_files_only=True, use_safetensors=True
        ),
    )
