"""One size dial: every number of the chain's training at `tiny` (minutes, for tests) and `embedded` (what ships)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from prefgen.core import ConfigError, nearest_hint


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes and lengths of one training of the whole chain. Lengths count samples."""

    name: str
    n_pictures: int
    """Training pictures painted."""
    vocabulary: int = 1600
    text_length: int = 48
    """Tokens per text; long enough for a whole attribute string."""
    # autoencoder
    ae_channels: tuple[int, ...] = (32, 64, 128)
    latent_channels: int = 8
    ae_samples: int = 56_000
    ae_batch: int = 16
    ae_rate: float = 1e-3
    # CLIP
    clip_width: int = 128
    """Width of the vision tower."""
    clip_vision_layers: int = 5
    text_width: int = 192
    """Width of the text tower, of every embedding, and of the generator's cross-attention."""
    clip_text_layers: int = 3
    clip_samples: int = 130_000
    clip_batch: int = 128
    clip_rate: float = 1e-3
    # vision tower
    vision_width: int = 160
    vision_layers: int = 6
    vision_samples: int = 700_000
    vision_batch: int = 128
    """A quarter plain training pictures, a quarter people's, half groups of hands."""
    vision_rate: float = 1e-3
    vision_groups: int = 12_000
    """Groups of eight pictures by four hands."""
    # generator
    unet_channels: tuple[int, ...] = (96, 160, 224)
    unet_pictures: int = 120_000
    """Pictures whose latents are cached; at most `n_pictures`."""
    unet_samples: int = 1_500_000
    unet_batch: int = 48
    unet_rate: float = 6e-4
    unet_ema: float = 0.9995
    unet_eye_weight: float = 0.3
    """Weight of the perceptual loss beside the flow loss in the generator's training."""
    # latent eye
    eye_width: int = 64
    eye_samples: int = 250_000
    eye_batch: int = 128
    eye_weight: float = 0.3
    """The same weight in the adapters' training; 0 trains on the flow loss alone."""
    # MLLM
    mllm_width: int = 160
    mllm_layers: int = 12
    mllm_image_tokens: int = 4
    mllm_pretrain_samples: int = 120_000
    mllm_vqa_samples: int = 100_000
    mllm_batch: int = 32
    mllm_rate: float = 6e-4
    mllm_vocabulary: int = 2048
    """Tokens of the MLLM's own tokenizer (at most 4,000)."""
    mllm_vision_width: int = 160
    mllm_vision_layers: int = 6
    mllm_twins: int = 30_000
    """Groups of three pictures for the by-whose-hand questions of pretraining."""
    mllm_validation: int = 100
    """Validation pictures, twins and people on which each MLLM stage reports."""
    mllm_match_samples: int = 260_000
    """Yes/no questions before whole conversations."""
    mllm_match_batch: int = 24
    mllm_match_rate: float = 1e-3
    mllm_vqa_batch: int = 8
    """Histories per step of preference fine-tuning; about seven questions each."""
    mllm_vqa_rate: float = 5e-4
    mllm_lora_rank: int = 0
    """Rank of the LoRA in preference fine-tuning; 0 trains the whole language model. The paper's family uses 8."""
    mllm_contrast: float = 0.3
    """λ of the contrastive preference loss."""
    mllm_same_user: float = 0.1
    """Weight of the same-user contrast."""
    # evidence of taste
    evidence_reading_samples: int = 300_000
    evidence_samples: int = 100_000
    """Histories with their questions."""
    evidence_batch: int = 96
    evidence_people: int = 1_500
    # adapters
    n_users: int = 5_000
    """Simulated people to train on."""
    user_tokens: int = 8
    manner_tokens: int = 2
    """Of these, the last ones, which say what words leave unexplained of a picture."""
    adapter_word_samples: int = 200_000
    """People heard while user tokens learn the words of a taste, before the generator is asked."""
    adapter_twin_samples: int = 90_000
    """Rows on twins that are liked."""
    adapter_samples: int = 60_000
    """Rows on twins of both sides; a baseline's adapter gets as many rows as both together."""
    adapter_batch: int = 32
    adapter_rate: float = 5e-4
    # judges
    judge_samples: int = 200_000
    judge_pictures: int = 60_000
    """Pictures painted for each of the two judges."""
    judge_batch: int = 64
    judge_rate: float = 1.5e-3
    judge_per_value: int = 60
    """Fresh pictures on which each value is tested."""
    seed: int = 0

    def with_overrides(self, **values: Any) -> Preset:
        """The preset with some fields replaced; unknown names fail and name the nearest."""
        known = {f.name for f in fields(self)}
        for key in values:
            if key not in known:
                raise ConfigError(f"expected a setting of the preset, got {key!r}", hint=nearest_hint(key, known))
        return replace(self, **values)


def typed_settings(preset: Any, settings: Sequence[str]) -> dict[str, Any]:
    """Fields of a preset as a person types them, `NAME=VALUE` each, lists with commas between, for `with_overrides`.

    Raises:
        ConfigError: not of that form, an unknown name, or a value of another kind.
    """
    typed: dict[str, Any] = {}
    known = [f.name for f in fields(preset) if f.name != "name"]
    for setting in settings:
        name, equals, text = setting.partition("=")
        if name not in known:
            raise ConfigError(f"expected a setting of the preset, got {name!r}", hint=nearest_hint(name, known))
        now = getattr(preset, name)
        try:
            typed[name] = _as_kind(now, text if equals else "")
        except ValueError:
            raise ConfigError(f"expected {name}=VALUE with a value such as {now!r}, got {setting!r}") from None
    return typed


def _as_kind(now: object, text: str) -> object:
    """A typed text as the kind of value that stands there now."""
    if isinstance(now, bool):
        return ["false", "true"].index(text.lower()) == 1
    if isinstance(now, tuple):
        return tuple(int(part) for part in text.split(","))
    if isinstance(now, int):
        return int(text)
    if isinstance(now, float):
        return float(text)
    return text


PRESETS: dict[str, Preset] = {
    "embedded": Preset(name="embedded", n_pictures=120_000),
    "tiny": Preset(
        name="tiny",
        n_pictures=600,
        vocabulary=600,
        ae_channels=(16, 32),
        ae_samples=256,
        ae_batch=8,
        clip_width=32,
        text_width=32,
        clip_vision_layers=2,
        clip_text_layers=2,
        clip_samples=640,
        clip_batch=32,
        vision_width=32,
        vision_layers=1,
        vision_samples=256,
        vision_batch=32,
        vision_groups=16,
        unet_channels=(32, 64),
        unet_samples=256,
        unet_batch=8,
        eye_width=16,
        eye_samples=256,
        eye_batch=32,
        mllm_width=32,
        mllm_vocabulary=1024,
        mllm_vision_width=32,
        mllm_vision_layers=1,
        mllm_twins=40,
        mllm_validation=8,
        mllm_match_samples=128,
        mllm_match_batch=4,
        mllm_vqa_batch=4,
        mllm_pretrain_samples=256,
        mllm_vqa_samples=256,
        mllm_batch=8,
        evidence_reading_samples=512,
        evidence_samples=256,
        evidence_batch=16,
        n_users=60,
        user_tokens=2,
        manner_tokens=1,
        adapter_word_samples=512,
        adapter_twin_samples=64,
        adapter_samples=64,
        adapter_batch=8,
        judge_samples=256,
        judge_pictures=120,
        judge_batch=16,
        judge_per_value=2,
    ),
}


def preset_named(name: str, also: Iterable[str] = ()) -> Preset:
    """A preset by name; `also` are other names that the caller knows, for the message."""
    if name not in PRESETS:
        known = sorted([*PRESETS, *also])
        raise ConfigError(f"expected a preset of {known}, got {name!r}", hint=nearest_hint(name, known))
    return PRESETS[name]
