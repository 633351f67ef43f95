"""The record of one probe over all layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prefgen.core import DataError, InputError, nearest_hint

if TYPE_CHECKING:
    from jaxtyping import Float

N_BOOTSTRAP = 2000


@dataclass(frozen=True, kw_only=True)
class ProbeCurve:
    """Accuracy of a probe at every layer, in the order of the hidden states it was given.

    `low` and `high` bound each accuracy with 95 % confidence: percentile bootstrap over `n_users` users, the fitted
    probes held fixed. The control repeats the probe with shuffled labels; its interval resamples users and shuffles.
    """

    probe: str
    accuracy: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    control: tuple[float, ...]
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    chance: float
    n_users: int
    seed: int

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in SERIES}
        if len(set(lengths.values())) != 1:
            raise InputError(f"expected one value a layer in every series of a probe curve, got {lengths}")

    @property
    def n_layers(self) -> int:
        """Number of hidden states probed."""
        return len(self.accuracy)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for `json.dumps`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Any) -> ProbeCurve:
        """The curve that `to_json` wrote. Raises `DataError` for another layout."""
        check_keys(data, cls.__dataclass_fields__, what="a probe curve")
        fields: dict[str, Any] = dict(data)
        fields.update({name: tuple(map(float, data[name])) for name in SERIES})
        return cls(**fields)


SERIES = ("accuracy", "low", "high", "control", "control_low", "control_high")


def check_keys(data: Any, expected: Mapping[str, Any] | Sequence[str], *, what: str) -> None:
    """Raises `DataError` unless the JSON object `data` has exactly the expected keys."""
    if not isinstance(data, Mapping):
        raise DataError(f"expected {what} as a JSON object, got {type(data).__name__}")
    unknown, missing = sorted(set(data) - set(expected)), sorted(set(expected) - set(data))
    if unknown or missing:
        hint = nearest_hint(unknown[0], expected) if unknown else None
        raise DataError(
            f"expected {what} with {', '.join(expected)}; unknown: {unknown}, missing: {missing}", hint=hint
        )


def curve_of(
    probe: str,
    per_user: Float[np.ndarray, "layers users"],
    shuffled: Float[np.ndarray, "layers shuffles users"],
    *,
    chance: float,
    seed: int,
    rng: np.random.Generator,
) -> ProbeCurve:
    """The curve of accuracies per layer and user; the same users are drawn at every layer, so layers compare paired."""
    n_shuffles, n_users = shuffled.shape[1:]
    users = rng.integers(n_users, size=(N_BOOTSTRAP, n_users))
    shuffles = rng.integers(n_shuffles, size=(N_BOOTSTRAP, n_shuffles))
    # counts instead of gathered copies: a mean over drawn indices is a weighted mean
    user_weights = np.stack([np.bincount(draw, minlength=n_users) for draw in users]) / n_users
    shuffle_weights = np.stack([np.bincount(draw, minlength=n_shuffles) for draw in shuffles]) / n_shuffles
    low, high = np.quantile(per_user @ user_weights.T, [0.025, 0.975], axis=1)
    control_draws = np.einsum("bs,lsu,bu->lb", shuffle_weights, shuffled, user_weights, optimize=True)
    control_low, control_high = np.quantile(control_draws, [0.025, 0.975], axis=1)
    series = (per_user.mean(1), low, high, shuffled.mean((1, 2)), control_low, control_high)
    values: dict[str, Any] = {name: tuple(map(float, value)) for name, value in zip(SERIES, series)}
    return ProbeCurve(probe=probe, chance=chance, n_users=n_users, seed=seed, **values)
