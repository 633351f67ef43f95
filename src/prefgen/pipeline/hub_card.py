"""The card that goes onto the hub with a model: what it is, on what it was trained, what was measured, the licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files

from prefgen.core import InputError

OWN_PRESETS = ("embedded", "tiny")
_OWN_DATA = (
    "Pictures painted by prefgen's own procedural painter, and simulated people. No photographs, no artists' works, "
    "no data about real people, no weights from elsewhere."
)


@dataclass(frozen=True, kw_only=True)
class HubCard:
    """What only its maker can say of a model.

    `licence` is the hub's short name of it (`apache-2.0`, `openrail++`, `other`). `metrics` are figures by name, each a
    number or a text such as `0.91 [0.86, 0.96]`. `base_models` are hub names of what it was made from, whose licences
    bind it too.
    """

    licence: str = ""
    training_data: str = ""
    metrics: Mapping[str, float | str] = field(default_factory=dict)
    base_models: tuple[str, ...] = ()
    summary: str = ""


def card_of(preset: str, card: HubCard | None) -> HubCard:
    """The card, completed for presets that this package trains from nothing.

    Raises:
        InputError: no licence or no word on the training data.
    """
    given = card or HubCard()
    if preset in OWN_PRESETS and not given.base_models:
        given = replace(given, licence=given.licence or "apache-2.0", training_data=given.training_data or _OWN_DATA)
    missing = [name for name in ("licence", "training_data") if not getattr(given, name).strip()]
    if missing:
        raise InputError(
            f"expected a card that says {' and '.join(missing)}, got one without",
            hint='card=HubCard(licence="...", training_data="...", metrics={...}, base_models=(...,)); '
            "on the command line --licence and --training-data",
        )
    return given


def written(card: HubCard, repo_id: str, title: str, template: str = "hub_card.md", **more: str) -> str:
    """The card as `README.md`, with the head that the hub reads. `more` are the template's own places by name."""
    from huggingface_hub import ModelCardData

    head = ModelCardData(
        license=card.licence,
        library_name="prefgen",
        pipeline_tag="text-to-image",
        tags=["prefgen", "personalization", "ip-adapter"],
        base_model=list(card.base_models) or None,
    )
    told = "\n".join(f"| {name} | {value} |" for name, value in card.metrics.items())
    values = {
        "HEAD": head.to_yaml(),
        "TITLE": title,
        "REPO": repo_id,
        "SUMMARY": card.summary or "Pictures made for one particular person, from the pictures they like and dislike.",
        "DATA": card.training_data,
        "METRICS": f"| figure | value |\n|---|---|\n{told}" if told else "None were given by whoever published it.",
        "LICENCE": card.licence,
        "BASES": ", ".join(card.base_models) or "none: it was trained from nothing",
        **more,
    }
    text = files("prefgen.pipeline").joinpath(template).read_text()
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", value)
    return text
