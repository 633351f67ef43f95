"""Published weights as one folder that looks like a model's: generator, picture encoder and language model.

The folder holds links, no copies; the finished model's holds the files themselves (hard links where the disk allows).
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prefgen.core import ModelError
from prefgen.mllm import PreferenceMLLM
from prefgen.mllm.loading import check_place
from prefgen.pipeline.hub import is_hub_name
from prefgen.pipeline.loading import (
    check_files,
    check_pipeline,
    device_named,
    dtype_named,
    folder_of,
    loaded,
    pipeline_parts,
    safetensors_header,
)
from prefgen.recipes import ranks
from prefgen.recipes.full_presets import FullPreset, published

LORA = "lora"
"""Where, inside `mllm/`, the language model's updates lie, in PEFT's format."""
NETWORKS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "safety_checker")
N_SAMPLES, SAMPLE_BYTES = 64, 4096
_KINDS = (".json", ".txt", ".model", ".jinja", ".safetensors")
_VARIANTS = ("fp16", "bf16", "non_ema")
_PICTURE_ENCODER = {
    "image_encoder": ("config.json", "model*.safetensors", "model*.safetensors.index.json"),
    "feature_extractor": ("preprocessor*.json",),
}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A folder of links to published parts, and where and how they are run."""

    folder: Path
    preset: FullPreset
    device: torch.device
    shard: bool = False
    """Whether networks that learn, or stand beside what learns, are cut over the processes (FSDP2)."""

    @property
    def dtype(self) -> torch.dtype:
        """Of what is frozen."""
        return dtype_named("bfloat16" if self.preset.dtype == "bf16" else self.preset.dtype)

    def language_model(self, lora: Path | None = None, *, training: bool = False) -> PreferenceMLLM:
        """The language model, with updates where they are given; in four bits only for training (QLoRA): what is read
        of people is read as the finished model reads it. One that will be cut for training stays in main memory until
        then."""
        return PreferenceMLLM.from_pretrained(
            self.folder / "mllm",
            device="cpu" if training and self.shard else str(self.device),
            dtype=self.dtype,
            four_bit=training and self.preset.load_4bit,
            gradient_checkpointing=training and self.preset.gradient_checkpointing,
            lora=lora,
        )

    def pipeline(self, *wanted: str) -> Any:
        """The stock pipeline on the CPU; each stage moves what it needs. With `wanted`, of its networks these alone."""
        from diffusers.pipelines.pipeline_utils import DiffusionPipeline

        left_out = {name: None for name in NETWORKS if wanted and name not in wanted and (self.folder / name).is_dir()}
        pipe: Any = loaded(
            "generator",
            lambda: DiffusionPipeline.from_pretrained(
                self.folder, torch_dtype=self.dtype, local_files_only=True, use_safetensors=True, **left_out
            ),
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def side_px(self, pipe: Any) -> int:
        """The side of the pictures that are learned from: the preset's, else what the pipeline paints by default."""
        if self.preset.side_px:
            return self.preset.side_px
        network = "unet" if (self.folder / "unet").is_dir() else "transformer"
        told = json.loads((self.folder / network / "config.json").read_text())
        return int((told.get("sample_size") or pipe.default_sample_size) * pipe.vae_scale_factor)

    def autocast(self) -> torch.autocast:
        """bfloat16 where a language model in four bits learns on a card: what is kept beside it is float32."""
        on = self.preset.load_4bit and self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=on)

    @property
    def made_by(self) -> str:
        """What the features of pictures depend on."""
        weights = stamp(*(self.folder / part for part in ("mllm", "image_encoder", "feature_extractor", "vae")))
        return f"{weights}.{self.preset.side_px}.{self.preset.dtype}"


def freed() -> None:
    """Gives back what networks of an earlier stage have left on the card."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def weights_of(name: str, check: Callable[[Path], None]) -> Path:
    """The folder of published weights on this machine: a folder, or a hub name downloaded before.

    Raises:
        ModelError: they are not here, since nothing is downloaded unasked; or not whole.
    """
    try:
        folder = folder_of(name, local_files_only=True)
    except ModelError as error:
        if not is_hub_name(name):
            raise
        raise ModelError(
            f"the weights of {name} are not on this machine",
            hint=f"download them first, after reading their licence: hf download {name}",
        ) from error
    check(folder)
    return folder


def parts_of(preset: FullPreset, work: Path, *, shard: bool = False) -> Parts:
    """Finds all published parts, and links them together in `work/published`.

    Raises:
        ModelError: some of them are not on this machine, all of which are named; or not whole.
    """
    names = {
        preset.generator or published(preset.backbone)["hub"]: check_pipeline,
        preset.image_encoder: _check_picture_encoder,
        preset.language_model or published(preset.mllm)["hub"]: _check_language_model,
    }
    generator, encoder, mllm = _all_of(names)
    folder = work / "published"
    parts = Parts(folder=folder, preset=preset, device=device_named("auto"), shard=shard)
    if ranks.is_first():
        _link_parts(folder, generator, encoder, mllm)
    ranks.wait()
    return parts


def _link_parts(folder: Path, generator: Path, encoder: Path, mllm: Path) -> None:
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


def _all_of(names: Mapping[str, Callable[[Path], None]]) -> list[Path]:
    """The folders of all names; one error for all that are not on this machine."""
    found, missing = [], []
    for name, check in names.items():
        try:
            found.append(weights_of(name, check))
        except ModelError as error:
            if "are not on this machine" not in error.message:
                raise
            missing.append(name)
    if missing:
        raise ModelError(
            f"the weights of {', '.join(missing)} are not on this machine",
            hint="download them first, after reading their licence: "
            + "; ".join(f"hf download {name}" for name in missing),
        )
    return found


def copy_of(source: Path, to: Path) -> None:
    """A file in another place: weights as a hard link where the disk allows, the rest as a copy."""
    real = source.resolve()
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        if to.suffix == ".safetensors":
            os.link(real, to)
            return
    except OSError:
        pass
    shutil.copyfile(real, to)


def stamp(*folders: Path) -> str:
    """12 hex digits over the weights and settings in some folders: sizes, heads and samples of all weights, so that
    published ones are told apart without reading gigabytes; all of the JSON."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json")):
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            if path.suffix == ".json":
                digest.update(path.read_bytes())
                continue
            n, _ = loaded(path.name, lambda path=path: safetensors_header(path))
            size = path.stat().st_size
            with path.open("rb") as file:
                digest.update(file.read(8 + n))
                for k in range(N_SAMPLES):
                    file.seek(8 + n + (size - 8 - n) * k // N_SAMPLES)
                    digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:12]


def _check_picture_encoder(folder: Path) -> None:
    patterns = [pattern for patterns in _PICTURE_ENCODER.values() for pattern in patterns if "index" not in pattern]
    if missing := [pattern for pattern in patterns if not any(folder.glob(pattern))]:
        raise ModelError(f"expected a picture encoder in {folder}, got none of {', '.join(missing)}")
    check_files(folder, [path.name for path in folder.glob("model*.safetensors")])


def _check_language_model(folder: Path) -> None:
    check_place(folder)
    if (folder / LORA).exists():
        raise ModelError(
            f"expected a published language model, got {folder}, which holds updates of one in {LORA}/",
            hint="fold them into its weights first (prefgen.mllm.merged), or name the published model",
        )


def _link_all(source: Path, to: Path) -> None:
    """Links what is read of a part: settings and plain weights, no other variant or kind of them."""
    for path in source.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
        if path.is_file() and path.suffix in _KINDS and not hidden and not _has_plain_twin(path):
            _link(path, to / path.relative_to(source))


def _has_plain_twin(path: Path) -> bool:
    """Whether a file is a variant (`model.fp16.safetensors`, `model.fp16-00001-of-00002.safetensors`) of weights that
    lie there plain."""
    first, *more = path.name.split(".")
    if len(more) < 2 or more[0].split("-")[0] not in _VARIANTS:
        return False
    plain = (p.name.split(".") for p in path.parent.glob(f"{first}*.safetensors"))
    return any(len(parts) == 2 for parts in plain)


def _link(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.symlink_to(source.resolve())
