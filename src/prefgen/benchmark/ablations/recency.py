"""Does a date help where taste drifts? People whose taste turned show all their pictures, or some."""

from __future__ import annotations

from prefgen.adapter import UserTokens
from prefgen.agents import Shown
from prefgen.benchmark.ablations.asking import Asking, Sweep, Variant
from prefgen.benchmark.ablations.shelves import with_shelf
from prefgen.benchmark.chain import user_tokens
from prefgen.benchmark.methods import Method
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.population import N_SHOWN
from prefgen.benchmark.tasks import Case, Shelf
from prefgen.benchmark.tuning import tuned_parameters

SPAN_S = 2 * 365 * 86_400.0
"""Two years from the first picture of a history to the last."""


class DatedPrefGen(PrefGenMethod):
    """Our method told when each picture was liked or disliked."""

    def tokens(self, shelf: Shelf) -> UserTokens:
        """A shelf's tokens, older pictures counting for less."""
        history = shelf.history(with_prompts=False, span_s=SPAN_S)
        return user_tokens(self.bench.chain, self.bench.chain.profile(history=history))


def dated(asking: Asking) -> Method:
    """The method, tuned as ours is."""
    return DatedPrefGen(asking.bench, **tuned_parameters("prefgen"))


def everything(case: Case) -> tuple[Shown, ...]:
    """All pictures a person ever labelled, early ones of the taste they had before."""
    return case.member.history()


def earliest(case: Case) -> tuple[Shown, ...]:
    """The first pictures of either side."""
    shown = case.member.history()
    kept = {i for side in (True, False) for i in [j for j, s in enumerate(shown) if s.liked == side][:N_SHOWN]}
    return tuple(s for i, s in enumerate(shown) if i in kept)


RECENCY = Sweep(
    name="recency",
    title="Do dates help where taste has drifted?",
    variants=(
        Variant(label="first 4 + 4", shows=with_shelf(earliest)),
        Variant(label="all, no dates", shows=with_shelf(everything)),
        Variant(label="all, dated", shows=with_shelf(everything), paints=dated),
        Variant(label="last 4 + 4"),
    ),
    reference="all, no dates",
    people=lambda asking: asking.people_of_kind("drifting"),
)
