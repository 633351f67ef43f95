"""Out to stock diffusers: the adapter as two IP-Adapter files, people as `ip_adapter_image_embeds`.

Whoever has the folder paints with diffusers alone, without this package: likes and dislikes are two adapters with a
strength each, one person a call. Stock pipelines mix the embeddings of several people silently (huggingface/diffusers
issue 9813); a few lines in a file beside the adapters set that right.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import Tensor

from prefgen.adapter import (
    GROUPS,
    Group,
    StockForm,
    StockLayout,
    UserTokens,
    all_weights,
    layout_of,
    stock_state,
)
from prefgen.core import InputError, ModelError, ProfileError
from prefgen.pipeline.atomic import write_whole
from prefgen.pipeline.loading import loaded
from prefgen.pipeline.publishing_adapter import (
    DESCRIPTION,
    FORMAT_VERSION,
    adapter_files,
    checked_form,
    exported_folder,
)

if TYPE_CHECKING:
    from prefgen.pipeline.model import PrefGen
    from prefgen.pipeline.profile import Profile

PEOPLE, PIPELINE = "people", "pipeline"
_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote. `lost` is the share of what keys and values make of people's tokens that no stock file can
    hold: 0 up to rounding for few people, see `prefgen.adapter.stock_layout`."""

    folder: Path
    files: tuple[str, ...]
    people: tuple[str, ...]
    lost: Mapping[str, float]


def export_to_diffusers(
    model: PrefGen,
    people: Mapping[str, Profile],
    folder: Path,
    *,
    with_pipeline: bool = False,
    adapters: str | os.PathLike[str] | None = None,
) -> Exported:
    """Writes `like.safetensors`, `dislike.safetensors`, `people/NAME.safetensors`, `several_people.py`, `README.md` and
    `export.json` into `folder`; with `with_pipeline` also the generator as a stock pipeline.

    A folder that holds an export of the same model keeps its adapters, and people are added to it. A person's file
    holds `like` and `dislike`, float32 [2, 1, n_tokens, 2·d_cross] (FLUX: [2, n_tokens, d_cross]), the unconditional
    half first: dislikes speak in that half, from which guidance moves away. It can be turned back into a taste, but
    holds no picture; so can, for few people, the adapters fitted to them. Nothing in the folder is for strangers:
    `push_adapter_to_hub` publishes adapters fitted to nobody, and `adapters`, a folder or hub name of such, is taken in
    place of fitted ones.

    Raises:
        InputError: no people, or names that are no file names.
        ProfileError: a profile of another model.
        ModelError: a network whose stock IP-Adapter cannot hold ours (Stable Diffusion 3), adapters of another model,
            or a folder with another model's export or other adapters.
    """
    form = _checked_form(model, people)
    tokens = {name: model.embed(profile).row(0) for name, profile in people.items()}
    known = _known_states(folder, model)
    if adapters is not None:
        known = _published_states(adapters, model, folder)
    states: dict[Group, dict[str, Tensor]] = known or _fitted_states(model, tokens, form)
    layouts: dict[Group, StockLayout] = {group: layout_of(state) for group, state in states.items()}
    embeds = {name: save(_embeds(person, layouts, form), {"format": "pt"}) for name, person in tokens.items()}
    written = adapter_files(model, states, readme(model, next(iter(people)), with_pipeline))
    for name, data in written.items():
        write_whole(folder / name, data)
    names = list(written)
    for name, data in embeds.items():
        names.append(str(Path(PEOPLE) / f"{name}.safetensors"))
        (folder / PEOPLE).mkdir(parents=True, exist_ok=True)
        write_whole(folder / names[-1], data, private=True)
    if with_pipeline:
        model.pipe.save_pretrained(folder / PIPELINE)
    lost = {g: layouts[g].lost(all_weights(model.adapter, g), _cloud(tokens, g)) for g in states}
    return Exported(folder=folder, files=tuple(names), people=tuple(people), lost=lost)


def readme(model: PrefGen, person: str, with_pipeline: bool) -> str:
    """How to paint with the folder; its one block of Python runs as it stands, in the folder."""
    default, kind = model.card.default, type(model.pipe).__name__
    base = f'"{PIPELINE}"' if with_pipeline else f'"the model folder, or the {kind} it was made for"'
    true_guidance = hasattr(model.pipe, "transformer")
    page = "export_readme_flux.md" if true_guidance else "export_readme.md"
    template = files("prefgen.pipeline").joinpath(page).read_text()
    steps = default.num_inference_steps
    first = min(round(default.user_start * steps), steps - 1)
    values = {
        "BASE": base,
        "PERSON": person,
        "KIND": kind,
        "LIKE": default.like_strength,
        "DISLIKE": default.dislike_strength,
        "STEPS": steps,
        "GUIDANCE": default.guidance_scale,
        "TRUE_GUIDANCE": default.true_cfg_scale,
        "FIRST": first,
        "LAST": max(round(default.user_end * steps), first + 1),
    }
    for name, value in values.items():
        template = template.replace("{{" + name + "}}", str(value))
    return template


def _checked_form(model: PrefGen, people: Mapping[str, Profile]) -> StockForm:
    if not people:
        raise InputError("expected at least one person to export, got none", hint="give a profile file")
    for name in people:
        if not name or name[0] == "." or not set(name) <= set(_NAME):
            raise InputError(f"expected a name of letters, digits, '.', '_' and '-', got {name!r}")
    return checked_form(model)


def _fitted_states(model: PrefGen, tokens: Mapping[str, UserTokens], form: StockForm) -> dict[Group, dict[str, Tensor]]:
    states: dict[Group, dict[str, Tensor]] = {}
    for group in GROUPS:
        layout = StockLayout.fitted(all_weights(model.adapter, group), _cloud(tokens, group))
        states[group] = stock_state(model.adapter, group, layout, form)
    return states


def _cloud(tokens: Mapping[str, UserTokens], group: Group) -> Tensor:
    rows = [rows for person in tokens.values() if (rows := person.group(group)) is not None]
    return torch.cat(rows).flatten(0, 1).float().cpu()


def _embeds(person: UserTokens, layouts: Mapping[Group, StockLayout], form: StockForm) -> dict[str, Tensor]:
    """`like` [nobody; likes] and `dislike` [dislikes; nobody]."""
    made: dict[str, Tensor] = {}
    for group in GROUPS:
        rows = person.group(group)
        if rows is None:
            raise ProfileError(f"expected a profile that says of {group}s what is known, got one without")
        said, nobody = (form.embeds(layouts[group].points(x.float().cpu())) for x in (rows, torch.zeros_like(rows)))
        halves = [nobody, said] if group == "like" else [said, nobody]
        made[group] = torch.cat(halves).contiguous()
    return made


def _known_states(
    folder: Path, model: PrefGen, name: object = None, hint: str = "give another folder with --out"
) -> dict[Group, dict[str, Tensor]] | None:
    """The adapters of an earlier export of the same model in this folder, which people know by `name`."""
    from safetensors.torch import load_file

    if not (folder / DESCRIPTION).exists():
        return None
    told = loaded(DESCRIPTION, lambda: json.loads((folder / DESCRIPTION).read_text()))
    if told.get("model") != model.sha256 or told.get("version") != FORMAT_VERSION:
        raise ModelError(f"{name or folder} holds another model's export", hint=hint)
    return {
        group: loaded(f"{group}.safetensors", lambda g=group: load_file(folder / f"{g}.safetensors"))
        for group in GROUPS
    }


def _published_states(
    adapters: str | os.PathLike[str], model: PrefGen, folder: Path
) -> dict[Group, dict[str, Tensor]] | None:
    """The adapters of a folder or hub name; an export in `folder` must have the same."""
    name, published = os.fspath(adapters), exported_folder(adapters)
    hint = "export with the model that they were published from, by its name on the hub if it is there"
    states = _known_states(published, model, name, hint)
    for file in (f"{group}.safetensors" for group in GROUPS):
        if (folder / file).exists() and (folder / file).read_bytes() != (published / file).read_bytes():
            raise ModelError(
                f"{folder} holds an export with other adapters than {name}", hint="give another folder with --out"
            )
    return states
