"""What is varied: parts of the embedding, layers, alignment, kernel, and how tokens reach the generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from prefgen.alignment import alignment_loss, median_bandwidths, mmd2_unbiased
from prefgen.embedding import PARTS
from prefgen.probing import LayerChoice
from prefgen.recipes.adapter_words import MMD_WEIGHT, Alignment, drawn_to_strings

Layers = Literal["probed", "top four", "lowest four", "all"]
Fusion = Literal["second attention", "appended to the text", "added to the text"]


def unaligned(sem: Tensor, _: Tensor) -> dict[str, Tensor]:
    """No alignment; the name is there so that every variant reports the same losses."""
    return {"aligned": sem.new_zeros(())}


def by_loss(name: str) -> Alignment:
    """One loss of `ALIGNMENT_LOSSES` alone, at the weight that MMD has in our recipe."""
    loss = alignment_loss(name)
    return lambda sem, strings: {"aligned": MMD_WEIGHT * loss(sem, strings)}


def by_bandwidths(times: float, *, single: bool = False) -> Alignment:
    """MMD with the median heuristic's bandwidths, all of them or only the middle one, so many times as wide."""

    def align(sem: Tensor, strings: Tensor) -> dict[str, Tensor]:
        widths = median_bandwidths(sem, strings, (1.0,)) if single else median_bandwidths(sem, strings)
        return {"aligned": MMD_WEIGHT * mmd2_unbiased(sem, strings, bandwidths=times * widths)}

    return align


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One training. `question` groups variants; `elected` says whether tokens are elected among pictures (ours) or are
    the whole embedding's (the paper's)."""

    name: str
    question: str
    heard: tuple[str, ...] = PARTS
    layers: Layers = "probed"
    align: Callable[[Tensor, Tensor], dict[str, Tensor]] = drawn_to_strings
    fusion: Fusion = "second attention"
    elected: bool = False

    def layer_choice(self, probed: LayerChoice, n_states: int) -> LayerChoice:
        """The layers that feed `e_core` and `e_sem`."""
        if self.layers == "probed":
            return probed
        chosen = {
            "top four": range(max(0, n_states - 4), n_states),
            "lowest four": range(min(4, n_states)),
            "all": range(n_states),
        }[self.layers]
        return LayerChoice(e_core=tuple(chosen), e_sem=tuple(chosen), reason=f"ablation: {self.layers}")


REFERENCE = "one embedding"
"""All parts, probed layers, our alignment, no election: what the others are compared with."""

VARIANTS: tuple[Variant, ...] = (
    Variant(name=REFERENCE, question="parts"),
    *(
        Variant(name=f"without e_{part}", question="parts", heard=tuple(p for p in PARTS if p != part))
        for part in PARTS
    ),
    Variant(name="e_img alone", question="parts", heard=("img",)),
    Variant(name="elected tokens", question="parts", elected=True),
    Variant(name="top four layers", question="layers", layers="top four"),
    Variant(name="lowest four layers", question="layers", layers="lowest four"),
    Variant(name="all layers", question="layers", layers="all"),
    Variant(name="no alignment", question="alignment", align=unaligned),
    *(
        Variant(name=name, question="alignment", align=by_loss(name))
        for name in ("mmd", "mse", "cosine", "info_nce", "sliced_wasserstein")
    ),
    Variant(name="one bandwidth", question="kernel", align=by_bandwidths(1.0, single=True)),
    Variant(name="a quarter of the bandwidths", question="kernel", align=by_bandwidths(0.25)),
    Variant(name="four times the bandwidths", question="kernel", align=by_bandwidths(4.0)),
    Variant(name="appended to the text", question="fusion", fusion="appended to the text"),
    Variant(name="added to the text", question="fusion", fusion="added to the text"),
)
"""Twenty at most, three seeds each."""
