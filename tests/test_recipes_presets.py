"""The size dial: what a person types reaches the preset, and what cannot be meant is told."""

from __future__ import annotations

import pytest

from prefgen.core import ConfigError
from prefgen.recipes.full_presets import FULL_PRESETS
from prefgen.recipes.presets import preset_named, typed_settings


def test_typed_settings_arrive_as_their_kind() -> None:
    tiny = preset_named("tiny")
    size = tiny.with_overrides(**typed_settings(tiny, ["seed=3", "ae_rate=0.5", "ae_channels=8,16"]))
    assert (size.seed, size.ae_rate, size.ae_channels) == (3, 0.5, (8, 16))
    assert size.with_overrides(seed=0, ae_rate=1e-3, ae_channels=(16, 32)) == preset_named("tiny")
    assert typed_settings(tiny, []) == {}
    full = FULL_PRESETS["sdxl-idefics2"]
    assert typed_settings(full, ["load_4bit=true", "dtype=float32"]) == {"load_4bit": True, "dtype": "float32"}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("sed=3", "hint: did you mean 'seed'"),
        ("seed=x", "seed=VALUE"),
        ("seed", "seed=VALUE"),
        ("name=x", "setting of the preset"),
    ],
)
def test_settings_that_cannot_be_meant_are_told(setting: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        typed_settings(preset_named("tiny"), [setting])
    assert told in str(caught.value)
