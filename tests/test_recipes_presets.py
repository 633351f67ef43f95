"""The size dial: what a person types reaches the preset, and what cannot be meant is told."""

from __future__ import annotations

import pytest

from prefgen.core import ConfigError
from prefgen.recipes.presets import preset_named


def test_typed_settings_arrive_as_their_kind() -> None:
    size = preset_named("tiny").with_settings(["seed=3", "ae_rate=0.5", "ae_channels=8,16"])
    assert (size.seed, size.ae_rate, size.ae_channels) == (3, 0.5, (8, 16))
    assert size.with_overrides(seed=0, ae_rate=1e-3, ae_channels=(16, 32)) == preset_named("tiny")
    assert preset_named("tiny").with_settings([]) == preset_named("tiny")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("sed=3", "hint: did you mean 'seed'"),
        ("seed=x", "seed=VALUE"),
        ("seed", "seed=VALUE"),
        ("name=x", "name=VALUE"),
    ],
)
def test_settings_that_cannot_be_meant_are_told(setting: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preset_named("tiny").with_settings([setting])
    assert told in str(caught.value)
