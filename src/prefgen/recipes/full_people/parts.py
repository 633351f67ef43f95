"""Published weights as one folder that looks like a model's: generator, picture encoder and language model.

The folder holds links, no copies; the finished model's holds the files themselves (hard links where the disk allows).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prefgen.adapter import network_of
from prefgen.core import ModelError
from prefgen.mllm import PreferenceMLLM
from prefgen.mllm.loading import check_place
from prefgen.pipeline.loading import (
    check_pipeline,
    device_named,
    dtype_named,
    folder_of,
    loaded,
    pipeline_parts,
    safetensors_header,
)
from prefgen.recipes.full_presets import FullPreset, published

LORA = "lora"
"""Where, inside `mllm/`, the language model's updates lie, in PEFT's format."""
_PICTURE_ENCODER = {
    "image_encoder": ("config.json", "model*.safetensors"),
    "feature_extractor": ("preprocessor*.json",),
}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A folder of links to published parts, and where and how they are run."""

    folder: Path
    preset: FullPreset
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Of what is frozen."""
        return dtype_named("bfloat16" if self.preset.dtype == "bf16" else self.preset.dtype)

    def language_model(self, lora: Path | None = None, *, training: bool = False) -> PreferenceMLLM:
        """The language model, with updates where they are given; in four bits only for training (QLoRA): what is read
        of people is read as the finished model reads it."""
        return PreferenceMLLM.from_pretrained(
            self.folder / "mllm",
            device=str(self.device),
            dtype=self.dtype,
            four_bit=training and self.preset.load_4bit,
            gradient_checkpointing=training and self.preset.gradient_checkpointing,
            lora=lora,
        )

    def pipeline(self) -> Any:
        """The stock pipeline, on the CPU; each stage moves what it needs."""
        from diffusers.pipelines.pipeline_utils import DiffusionPipeline

        pipe: Any = loaded(
            "generator",
            lambda: DiffusionPipeline.from_pretrained(
                self.folder, torch_dtype=self.dtype, local_files_only=True, use_safetensors=True
            ),
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def side_px(self, pipe: Any) -> int:
        """The side of the pictures that are learned from: the preset's, else what the pipeline paints by default."""
        if self.preset.side_px:
            return self.preset.side_px
        network: Any = network_of(pipe)
        latents = getattr(pipe, "default_sample_size", None) or network.config.sample_size
        return int(latents * pipe.vae_scale_factor)


def weights_of(name: str, check: Callable[[Path], None]) -> Path:
    """The folder of published weights on this machine: a folder, or a hub name downloaded before.

    Raises:
        ModelError: they are not here, since nothing is downloaded unasked; or not whole.
    """
    try:
        folder = folder_of(name, local_files_only=True)
    except ModelError as error:
        raise ModelError(
            f"the weights of {name} are not on this machine",
            hint=f"download them first, after reading their licence: hf download {name}",
        ) from error
    check(folder)
    return folder


def parts_of(preset: FullPreset, work: Path) -> Parts:
    """Finds all published parts, and links them together in `work/parts`.

    Raises:
        ModelError: one of them is not on this machine, or not whole.
    """
    generator = weights_of(preset.generator or published(preset.backbone)["hub"], check_pipeline)
    encoder = weights_of(preset.image_encoder, _check_picture_encoder)
    mllm = weights_of(preset.language_model or published(preset.mllm)["hub"], check_place)
    folder = work / "parts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _link(generator / "model_index.json", folder / "model_index.json")
    for part in pipeline_parts(generator / "model_index.json"):
        _link_all(generator / part, folder / part)
    for part, patterns in _PICTURE_ENCODER.items():
        shutil.rmtree(folder / part, ignore_errors=True)
        for path in (p for pattern in patterns for p in encoder.glob(pattern)):
            _link(path, folder / part / path.name)
    _link_all(mllm, folder / "mllm")
    return Parts(folder=folder, preset=preset, device=device_named("auto"))


def copy_of(source: Path, to: Path) -> None:
    """A file in another place: a hard link where the disk allows, else a copy."""
    real = source.resolve()
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(real, to)
    except OSError:
        shutil.copyfile(real, to)


def stamp(*folders: Path) -> str:
    """12 hex digits over names, sizes and heads of the weights in some folders: enough to tell published weights
    apart without reading gigabytes."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.safetensors")):
            n, _ = loaded(path.name, lambda path=path: safetensors_header(path))
            with path.open("rb") as file:
                head = file.read(8 + n + 4096)
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode() + hashlib.sha256(head).digest())
    return digest.hexdigest()[:12]


def _check_picture_encoder(folder: Path) -> None:
    missing = [p for patterns in _PICTURE_ENCODER.values() for p in patterns if not any(folder.glob(p))]
    if missing:
        raise ModelError(f"expected a picture encoder in {folder}, got none of {', '.join(missing)}")


def _link_all(source: Path, to: Path) -> None:
    for path in (p for p in source.rglob("*") if p.is_file() and not _hidden(p, source)):
        _link(path, to / path.relative_to(source))


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _link(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.symlink_to(source.resolve())
