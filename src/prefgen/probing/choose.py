"""Which layers feed `e_core` and which `e_sem`: a pure function of the probes' curves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from prefgen.core import ConfigError, DataError, InputError
from prefgen.probing.curve import ProbeCurve, check_keys


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """The chosen layers, ascending, as places in the hidden states that were probed, and why. Saved with the model."""

    e_core: tuple[int, ...]
    e_sem: tuple[int, ...]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain lists and text, ready for `json.dumps`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Any) -> LayerChoice:
        """The choice that `to_json` wrote. Raises `DataError` for another layout."""
        check_keys(data, cls.__dataclass_fields__, what="a layer choice")
        for part in ("e_core", "e_sem"):
            layers = data[part]
            if not isinstance(layers, list | tuple) or not layers or not all(type(layer) is int for layer in layers):
                raise DataError(f"expected {part} as a list of layer numbers, got {layers!r}")
        return cls(e_core=tuple(data["e_core"]), e_sem=tuple(data["e_sem"]), reason=str(data["reason"]))


def choose_layers(inter_curve: ProbeCurve, intra_curve: ProbeCurve, n_layers: int = 4) -> LayerChoice:
    """The `n_layers` layers of each part, from the held-out curves of `inter_user` and `intra_user`.

    `e_sem`: the top layers, in which the paper finds what a user likes (arXiv 2512.06020: top four, last token). The
    intra-user curve does not move them; `reason` says how they score on it, and names a lower layer that beats them
    all beyond its interval.
    `e_core`: those with the best inter-user accuracy among the middle-to-upper layers (the paper's region). Where that
    region runs is *ours*: from a third of the depth up to the layers of `e_sem`, or to the top where fewer than
    `n_layers` would be left. Of equals the upper is taken.
    """
    depth = inter_curve.n_layers
    if intra_curve.n_layers != depth:
        raise InputError(f"expected both curves over the same layers, got {depth} and {intra_curve.n_layers}")
    if not 1 <= n_layers <= depth:
        raise ConfigError(f"expected between 1 and {depth} layers, the number that was probed, got {n_layers}")
    e_sem = tuple(range(depth - n_layers, depth))
    bottom = min(depth // 3, depth - n_layers)
    top = e_sem[0] if e_sem[0] - bottom >= n_layers else depth
    ranked = sorted(range(bottom, top), key=lambda layer: (inter_curve.accuracy[layer], layer), reverse=True)
    e_core = tuple(sorted(ranked[:n_layers]))
    reason = f"{_core_reason(inter_curve, e_core, bottom, top)} {_sem_reason(intra_curve, e_sem)}"
    return LayerChoice(e_core=e_core, e_sem=e_sem, reason=reason)


def _core_reason(curve: ProbeCurve, e_core: tuple[int, ...], bottom: int, top: int) -> str:
    scores = ", ".join(f"{layer}: {curve.accuracy[layer]:.3f}" for layer in e_core)
    return (
        f"e_core: best inter-user top-1 among {curve.n_users} users in layers {bottom} to {top - 1} "
        f"({scores}; chance {curve.chance:.3f})."
    )


def _sem_reason(curve: ProbeCurve, e_sem: tuple[int, ...]) -> str:
    scores = ", ".join(f"{layer}: {curve.accuracy[layer]:.3f}" for layer in e_sem)
    said = f"e_sem: the top {len(e_sem)} layers; intra-user accuracy of {curve.n_users} held-out users there ({scores})"
    best = max(range(curve.n_layers), key=lambda layer: (curve.accuracy[layer], layer))
    if best not in e_sem and curve.low[best] > max(curve.high[layer] for layer in e_sem):
        return f"{said}, though layer {best} reaches {curve.accuracy[best]:.3f}, beyond their intervals."
    return f"{said}; no lower layer is better beyond its interval."
