"""The verb that puts a model, or its adapters for stock diffusers, onto the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from prefgen.cli.opening import open_model
from prefgen.cli.options import Device, Json
from prefgen.cli.output import emit, log_to_stderr, note

if TYPE_CHECKING:
    from prefgen.pipeline import HubCard, Upload


def push(
    repo: Annotated[str, typer.Argument(help="Its name on the hub, such as someone/their-model.")],
    model: Annotated[str, typer.Option("--model", help="What to publish: a model folder, a hub name, or embedded.")],
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="Only the adapters, as stock diffusers loads them.")
    ] = False,
    licence: Annotated[
        str, typer.Option("--licence", "--license", help="The hub's short name of it, such as apache-2.0 or other.")
    ] = "",
    training_data: Annotated[str, typer.Option("--training-data", help="On what it was trained, in a sentence.")] = "",
    metric: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME=VALUE", help="A figure; may be repeated.")
    ] = None,
    base_model: Annotated[
        list[str] | None,
        typer.Option("--base-model", metavar="NAME", help="A hub name that it was made from; may be repeated."),
    ] = None,
    summary: Annotated[str, typer.Option("--summary", help="What it is, in a sentence.")] = "",
    public: Annotated[bool, typer.Option("--public", help="A new repository is for everybody, not for you alone.")] = (
        False
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, with the card; write nothing.")] = (
        False
    ),
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Upload a model's own files and a card to the hub, privately. Prints the commit's address.

    No profile, picture or history goes along. The token is that of `hf auth login`, or HF_TOKEN.
    """
    from prefgen.pipeline import HubCard

    log_to_stderr()
    card = HubCard(
        licence=licence,
        training_data=training_data,
        metrics=_metrics(metric or ()),
        base_models=tuple(base_model or ()),
        summary=summary,
    )
    upload = _upload(repo, model, card, device, adapter_only=adapter_only, here_only=dry_run)
    told = {"repo": repo, "private": not public, "files": upload.sizes, "card": upload.card, "commit": None}
    if dry_run:
        emit(told, as_json=json_, lines=[*_listed(upload, public=public), "", upload.card])
        return
    for line in _listed(upload, public=public):
        note(line)
    what = "Adapters of prefgen for stock diffusers" if adapter_only else "A model of prefgen"
    told["commit"] = commit = upload.push(private=not public, commit_message=what)
    emit(told, as_json=json_, lines=[commit])


def _upload(repo: str, model: str, card: HubCard, device: str, *, adapter_only: bool, here_only: bool) -> Upload:
    """What would go. A whole model is copied file by file and not loaded; adapters are laid out anew."""
    from prefgen.pipeline import adapter_upload, model_folder, model_upload

    hub = {"local_files_only": True} if here_only else {}
    if adapter_only:
        return adapter_upload(open_model(model, device, "float32", quiet=True, **hub), repo, card)
    return model_upload(model_folder(model, **hub), repo, card)


def _metrics(given: Sequence[str]) -> dict[str, str]:
    """Figures from NAME=VALUE."""
    from prefgen.core import InputError

    metrics: dict[str, str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise InputError(f"expected --metric NAME=VALUE, got {text!r}", hint='as in --metric "gain=0.91"')
        if name in metrics:
            raise InputError(f"expected each metric once, got {name!r} twice", hint="give each its own name")
        metrics[name] = value
    return metrics


def _listed(upload: Upload, *, public: bool) -> list[str]:
    """Every file with its size, and all of them together."""
    sizes = upload.sizes
    seen = "public" if public else "private"
    total = f"{upload.repo_id}: {len(sizes)} files, {sum(sizes.values()):,} bytes; {seen}, if the repository is new"
    return [*(f"{size:>15,}  {name}" for name, size in sizes.items()), total]
