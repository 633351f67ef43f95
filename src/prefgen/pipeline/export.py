"""Out to stock diffusers: the adapter as two IP-Adapter files, people as `ip_adapter_image_embeds`.

Whoever has the folder paints with diffusers alone, without this package: likes and dislikes are two adapters with a
strength each, one person a call. Stock pipelines mix the embeddings of several people silently (huggingface/diffusers
issue 9813); a few lines in a file beside the adapters set that right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    network_of,
    stock_form,
    stock_state,
)
from prefgen.core import InputError, ModelError, ProfileError
from prefgen.pipeline.atomic import write_whole
from prefgen.pipeline.loading import loaded

if TYPE_CHECKING:
    from prefgen.pipeline.model import PrefGen
    from prefgen.pipeline.profile import Profile

PEOPLE, PIPELINE, DESCRIPTION = "people", "pipeline", "export.json"
FORMAT_VERSION = 1
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
    model: PrefGen, people: Mapping[str, Profile], folder: Path, *, with_pipeline: bool = False
) -> Exported:
    """Writes `like.safetensors`, `dislike.safetensors`, `people/NAME.safetensors`, `several_people.py`, `README.md` and
    `export.json` into `folder`; with `with_pipeline` also the generator as a stock pipeline.

    A folder that holds an export of the same model keeps its adapters, and people are added to it. A person's file
    holds `like` and `dislike`, float32 [2, 1, n_tokens, 2·d_cross] (FLUX: [2, n_tokens, d_cross]), the unconditional
    half first: dislikes speak in that half, from which guidance moves away. It can be turned back into a taste, but
    holds no picture.

    Raises:
        InputError: no people, or names that are no file names.
        ProfileError: a profile of another model.
        ModelError: a network whose stock IP-Adapter cannot hold ours (Stable Diffusion 3), or a folder with another
            model's export.
    """
    form = _checked_form(model, people)
    tokens = {name: model.embed(profile).row(0) for name, profile in people.items()}
    states: dict[Group, dict[str, Tensor]] = _known_states(folder, model) or _fitted_states(model, tokens, form)
    layouts: dict[Group, StockLayout] = {group: layout_of(state) for group, state in states.items()}
    told: dict[Path, bytes] = {Path(f"{g}.safetensors"): save(s, {"format": "pt"}) for g, s in states.items()}
    for name, person in tokens.items():
        told[Path(PEOPLE) / f"{name}.safetensors"] = save(_embeds(person, layouts, form), {"format": "pt"})
    told[Path("several_people.py")] = files("prefgen.pipeline").joinpath("several_people.py").read_bytes()
    told[Path("README.md")] = readme(model, next(iter(people)), with_pipeline).encode()
    told[Path(DESCRIPTION)] = (json.dumps(_description(model), indent=1) + "\n").encode()
    for path, data in told.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / path, data, private=path.parts[0] == PEOPLE)
    if with_pipeline:
        model.pipe.save_pretrained(folder / PIPELINE)
    lost = {g: layouts[g].lost(all_weights(model.adapter, g), _cloud(tokens, g)) for g in states}
    return Exported(folder=folder, files=tuple(map(str, told)), people=tuple(people), lost=lost)


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
    form = stock_form(network_of(model.pipe))
    missing = [group for group in GROUPS if group not in model.adapter.groups]
    if missing:
        raise ModelError(f"expected an adapter of likes and dislikes, got one without {missing[0]}")
    return form


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


def _known_states(folder: Path, model: PrefGen) -> dict[Group, dict[str, Tensor]] | None:
    """The adapters of an earlier export of the same model in this folder."""
    from safetensors.torch import load_file

    if not (folder / DESCRIPTION).exists():
        return None
    told = loaded(DESCRIPTION, lambda: json.loads((folder / DESCRIPTION).read_text()))
    if told.get("model") != model.sha256 or told.get("version") != FORMAT_VERSION:
        raise ModelError(f"{folder} holds another model's export", hint="give another folder with --out")
    return {
        group: loaded(f"{group}.safetensors", lambda g=group: load_file(folder / f"{g}.safetensors"))
        for group in GROUPS
    }


def _description(model: PrefGen) -> dict[str, Any]:
    return {
        "version": FORMAT_VERSION,
        "model": model.sha256,
        "pipeline": type(model.pipe).__name__,
        "default": model.card.default.told(),
        "cross_attention_dim": model.adapter.d_cross,
        "n_layers": len(model.adapter.layers),
    }
