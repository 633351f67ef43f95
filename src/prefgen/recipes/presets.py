"""One size dial: every number of the chain's training at `tiny` (minutes, for tests) and `embedded` (what ships)."""

from __future__ import annotations

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
    ae_samples: int = 80_000
    ae_batch: int = 16
    ae_rate: float = 1e-3
    # CLIP
    clip_width: int = 192
    clip_vision_layers: int = 6
    clip_text_layers: int = 4
    clip_samples: int = 400_000
    clip_batch: int = 192
    clip_rate: float = 8e-4
    # generator
    unet_channels: tuple[int, ...] = (96, 192, 256)
    unet_samples: int = 1_500_000
    unet_batch: int = 48
    unet_rate: float = 6e-4
    unet_ema: float = 0.9995
    # MLLM
    mllm_width: int = 160
    mllm_layers: int = 12
    mllm_image_tokens: int = 4
    mllm_pretrain_samples: int = 120_000
    mllm_vqa_samples: int = 100_000
    mllm_batch: int = 32
    mllm_rate: float = 6e-4
    # adapters
    n_users: int = 6_000
    """Simulated people to train on."""
    user_tokens: int = 8
    adapter_samples: int = 150_000
    adapter_batch: int = 32
    adapter_rate: float = 5e-4
    # judges
    judge_samples: int = 200_000
    seed: int = 0

    def with_overrides(self, **values: Any) -> Preset:
        """The preset with some fields replaced; unknown names fail and name the nearest."""
        known = {f.name for f in fields(self)}
        for key in values:
            if key not in known:
                raise ConfigError(f"expected a setting of the preset, got {key!r}", hint=nearest_hint(key, known))
        return replace(self, **values)


PRESETS: dict[str, Preset] = {
    "embedded": Preset(name="embedded", n_pictures=120_000),
    "tiny": Preset(
        name="tiny",
        n_pictures=600,
        vocabulary=400,
        ae_channels=(16, 32),
        ae_samples=256,
        ae_batch=8,
        clip_width=32,
        clip_vision_layers=2,
        clip_text_layers=2,
        clip_samples=640,
        clip_batch=32,
        unet_channels=(32, 64),
        unet_samples=256,
        unet_batch=8,
        mllm_width=32,
        mllm_pretrain_samples=256,
        mllm_vqa_samples=256,
        mllm_batch=8,
        n_users=60,
        user_tokens=2,
        adapter_samples=128,
        adapter_batch=8,
        judge_samples=256,
    ),
}


def preset_named(name: str) -> Preset:
    """A preset by name."""
    if name not in PRESETS:
        raise ConfigError(f"expected a preset of {sorted(PRESETS)}, got {name!r}", hint=nearest_hint(name, PRESETS))
    return PRESETS[name]
