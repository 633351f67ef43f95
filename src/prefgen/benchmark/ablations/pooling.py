"""One liked picture, or several pooled? For ours, for ours without a language model, and for the stock adapter."""

from __future__ import annotations

from collections.abc import Callable

from prefgen.agents import Shown
from prefgen.benchmark.ablations.asking import Asking, Sweep, Variant
from prefgen.benchmark.ablations.shelves import with_shelf
from prefgen.benchmark.methods import METHODS, Method
from prefgen.benchmark.tasks import Case
from prefgen.benchmark.tuning import tuned_parameters

POOLED = ("prefgen", "e_img_only", "ip_adapter")


def one_liked(case: Case) -> tuple[Shown, ...]:
    """The latest picture labelled as liked."""
    return tuple(s for s in case.shelf.shown if s.liked)[-1:]


def all_liked(case: Case) -> tuple[Shown, ...]:
    """Every picture labelled as liked."""
    return tuple(s for s in case.shelf.shown if s.liked)


def painted_by(name: str) -> Callable[[Asking], Method]:
    """A method as tuned."""
    return lambda asking: METHODS[name](asking.bench, **tuned_parameters(name))


POOLING = Sweep(
    name="pooling",
    title="One liked picture, or four?",
    variants=tuple(
        Variant(label=f"{name}, {amount}", shows=with_shelf(shelf), paints=painted_by(name))
        for name in POOLED
        for amount, shelf in (("one", one_liked), ("four", all_liked))
    ),
    reference="prefgen, four",
)
