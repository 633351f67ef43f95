"""How long and how gently a finished model is trained on with people's own pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from prefgen.core import ConfigError, nearest_hint


@dataclass(frozen=True, kw_only=True)
class OwnDataPreset:
    """Sizes and lengths of one training on people's own pictures. Shapes are the start model's. Lengths count samples.

    Every value is *ours*; the rates are a fifth of those that the start model was trained with.
    """

    name: str
    preference_samples: int = 40_000
    """Yes/no and which-of-two questions asked in the language model's fine-tuning; 0 leaves it as it is."""
    preference_batch: int = 8
    """Histories a step; `QUESTIONS_A_HISTORY` questions each."""
    preference_rate: float = 1e-4
    preference_contrast: float = 0.3
    """λ of the contrastive preference loss."""
    lora_rank: int = 0
    """Rank of the LoRA in the language model; 0 trains the whole of it."""
    most_pictures: int = 8
    """Most pictures a side that a history tells in training."""
    simulated_share: float = 0.25
    """Share of conversations, and of the adapter's rows, that show painted pictures, so that little is forgotten."""
    simulated_people: int = 400
    simulated_pictures: int = 6_000
    """Painted pictures; a third of them has twins, from which the adapter learns."""
    choose_every: int = 4_000
    """Samples between two looks at the validation people; the best weights of all looks are kept."""
    adapter_samples: int = 20_000
    """Rows that paint a liked or disliked picture for its person; 0 leaves user encoder and adapter as they are."""
    adapter_batch: int = 16
    adapter_rate: float = 1e-4
    n_variants: int = 3
    """Divisions of each person's pictures into a history and pictures to be painted."""
    least_people: int = 4
    """Training people that a stage asks for."""
    least_validation_people: int = 2
    """Validation people that choosing, calibrating and reporting ask for."""
    evaluated_people: int = 200
    """Most people of a split on whom is chosen and reported."""
    flow_draws: int = 8
    """Times and noises at which each person's flow loss is measured."""
    seed: int = 0

    def with_overrides(self, **values: Any) -> OwnDataPreset:
        """The preset with some fields replaced; unknown names fail and name the nearest.

        Raises:
            ConfigError: an unknown name, or lengths that make no training.
        """
        known = {f.name for f in fields(self)}
        for key in values:
            if key not in known:
                raise ConfigError(f"expected a setting of the preset, got {key!r}", hint=nearest_hint(key, known))
        return replace(self, **values).checked()

    def checked(self) -> OwnDataPreset:
        """The same preset. Raises `ConfigError` where its lengths make no training."""
        counts = [f.name for f in fields(self) if isinstance(getattr(self, f.name), int)]
        for name in counts:
            if getattr(self, name) < (0 if name in MAY_BE_0 else 1):
                raise ConfigError(f"expected a larger {name}, got {getattr(self, name)}")
        if not 0 <= self.simulated_share < 1:
            raise ConfigError(f"expected simulated_share from 0 to below 1, got {self.simulated_share}")
        if self.preference_samples and not self.adapter_samples:
            raise ConfigError(
                "expected adapter_samples above 0 where the language model is trained",
                hint="the user encoder reads the language model's hidden states, so it has to follow",
            )
        return self


MAY_BE_0 = ("preference_samples", "adapter_samples", "lora_rank", "seed")

OWN_DATA_PRESETS: dict[str, OwnDataPreset] = {
    "embedded": OwnDataPreset(name="embedded"),
    "tiny": OwnDataPreset(
        name="tiny",
        preference_samples=480,
        preference_batch=4,
        simulated_people=16,
        simulated_pictures=240,
        choose_every=160,
        adapter_samples=96,
        adapter_batch=8,
        evaluated_people=16,
        flow_draws=4,
    ),
}


def own_data_preset_named(name: str, others: Iterable[str] = ()) -> OwnDataPreset:
    """A preset by name; `others` are names that could have been meant.

    Raises:
        ConfigError: there is no such preset.
    """
    known = [*OWN_DATA_PRESETS, *others]
    if name not in OWN_DATA_PRESETS:
        raise ConfigError(f"expected a preset of {known} with --people, got {name!r}", hint=nearest_hint(name, known))
    return OWN_DATA_PRESETS[name]
