"""What is each part of the embedding good for? Left out at inference, the rest as trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prefgen.adapter import UserTokens
from prefgen.benchmark.ablations.asking import AS_IT_IS, Asking, Sweep, Variant
from prefgen.benchmark.methods import Bench, Method
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.tasks import Shelf
from prefgen.benchmark.tuning import tuned_parameters
from prefgen.embedding import PARTS
from prefgen.pipeline.embed import person_tokens
from prefgen.pipeline.word_edits import NO_EDITS


class PartsOfPrefGen(PrefGenMethod):
    """Our method hearing `heard` of the embedding's parts, with or without evidence of taste to trust labels by."""

    def __init__(self, bench: Bench, heard: tuple[str, ...], *, evidence: bool = True) -> None:
        super().__init__(bench, **tuned_parameters("prefgen"))
        self.heard, self.evidence = heard, evidence

    def tokens(self, shelf: Shelf) -> UserTokens:
        """A shelf's tokens of those parts."""
        encoders = self.bench.chain.encoders
        encoders = encoders if self.evidence else replace(encoders, evidence=None)
        return person_tokens(shelf.history(with_prompts=False), NO_EDITS, encoders, self.heard)


def hearing(*heard: str, evidence: bool = True) -> Callable[[Asking], Method]:
    """A variant's method."""
    return lambda asking: PartsOfPrefGen(asking.bench, heard, evidence=evidence)


PARTS_HEARD = Sweep(
    name="parts",
    title="What is each part of the embedding good for? (left out at inference)",
    variants=(
        Variant(label=AS_IT_IS),
        *(
            Variant(label=f"without e_{part}", paints=hearing(*(other for other in PARTS if other != part)))
            for part in PARTS
        ),
        Variant(label="labels trusted without evidence", paints=hearing(*PARTS, evidence=False)),
    ),
    reference=AS_IT_IS,
)
