"""The exported adapter onto the hub, laid out for nobody in particular, and back.

An export's layout is fitted to the people exported with it: the directions that it keeps, in their order, tell the
tokens of few people. What is published is therefore laid out anew, for tokens that the user encoder makes of random
numbers.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from prefgen.adapter import GROUPS, Group, StockForm, StockLayout, all_weights, network_of, stock_form, stock_state
from prefgen.core import ModelError
from prefgen.pipeline.hub import from_hub, is_hub_name
from prefgen.pipeline.hub_card import HubCard, card_of, written
from prefgen.pipeline.loading import check_files
from prefgen.pipeline.upload import CARD_PAGE, Upload, title_of

if TYPE_CHECKING:
    from prefgen.pipeline.model import PrefGen

DESCRIPTION = "export.json"
FORMAT_VERSION = 1
N_MADE_UP = 256
ROOM_FOR_PEOPLE = 2.0
"""How much longer than any made-up token a person's may be, beside the layout's own room."""
ENCODER_ARGUMENT = {False: "image_encoder_folder", True: "image_encoder_pretrained_model_name_or_path"}
"""By which name `load_ip_adapter` is told that no picture encoder comes along: of UNets, of FLUX's transformer."""


def push_adapter_to_hub(
    model: PrefGen,
    repo_id: str,
    *,
    card: HubCard | None = None,
    private: bool = True,
    token: str | bool | None = None,
    commit_message: str = "Adapters of prefgen for stock diffusers",
) -> str:
    """Uploads the model's adapter as two stock IP-Adapters and a card. Returns the commit's address.

    No people go with it: `export_to_diffusers(model, people, folder, adapters=repo_id)` makes embeddings that fit.

    Raises:
        InputError: a card without licence or training data, or no name of the form `someone/their-adapter`.
        ModelError: a network that stock IP-Adapters do not fit, or the hub refuses.
    """
    upload = adapter_upload(model, repo_id, card)
    return upload.push(private=private, token=token, commit_message=commit_message)


def adapter_upload(model: PrefGen, repo_id: str, card: HubCard | None = None) -> Upload:
    """What `push_adapter_to_hub` would upload; nothing is written or sent.

    Raises:
        InputError: a card without licence or training data, or no name of the form `someone/their-adapter`.
        ModelError: a network that stock IP-Adapters do not fit.
    """
    title, form = title_of(repo_id), checked_form(model)
    page = written(
        card_of(model.card.preset, card),
        repo_id,
        title,
        "hub_adapter_card.md",
        KIND=type(model.pipe).__name__,
        ENCODER=ENCODER_ARGUMENT[hasattr(model.pipe, "transformer")],
    )
    return Upload(repo_id=repo_id, files=adapter_files(model, states_of_nobody(model, form), page))


def exported_folder(name: str | os.PathLike[str], **hub: Any) -> Path:
    """The folder of published or exported adapters: a folder, or a hub name. `hub` as in `PrefGen.from_pretrained`.

    Raises:
        ModelError: there are none, or not whole ones.
    """
    text = os.fspath(name)
    folder = Path(text).expanduser()
    if not folder.is_dir():
        if not is_hub_name(text):
            raise ModelError(
                f"there are no adapters {text!r}", hint="give a folder, or a hub name such as someone/them"
            )
        folder = from_hub(text, hub, "adapter")
    check_files(folder, [DESCRIPTION, *(f"{group}.safetensors" for group in GROUPS)])
    return folder


def states_of_nobody(model: PrefGen, form: StockForm) -> dict[Group, dict[str, Tensor]]:
    """Both adapters' files, laid out for made-up tokens: the same whoever has used the model."""
    states: dict[Group, dict[str, Tensor]] = {}
    for group in GROUPS:
        layout = StockLayout.fitted(all_weights(model.adapter, group), _made_up(model, group))
        roomy = replace(layout, radius=ROOM_FOR_PEOPLE * layout.radius)
        states[group] = stock_state(model.adapter, group, roomy, form)
    return states


def adapter_files(model: PrefGen, states: dict[Group, dict[str, Tensor]], readme: str) -> dict[str, bytes]:
    """Adapters, their description, a README and the class for several people, by file name."""
    told = {f"{group}.safetensors": save(state, {"format": "pt"}) for group, state in states.items()}
    told["several_people.py"] = files("prefgen.pipeline").joinpath("several_people.py").read_bytes()
    told[CARD_PAGE] = readme.encode()
    told[DESCRIPTION] = (json.dumps(description(model), indent=1) + "\n").encode()
    return told


def description(model: PrefGen) -> dict[str, Any]:
    """What `export.json` says."""
    return {
        "version": FORMAT_VERSION,
        "model": model.sha256,
        "pipeline": type(model.pipe).__name__,
        "default": model.card.default.told(),
        "cross_attention_dim": model.adapter.d_cross,
        "n_layers": len(model.adapter.layers),
    }


def checked_form(model: PrefGen) -> StockForm:
    """The form of stock file that the model's network takes.

    Raises:
        ModelError: a network or an adapter that stock IP-Adapters do not fit.
    """
    form = stock_form(network_of(model.pipe))
    missing = [group for group in GROUPS if group not in model.adapter.groups]
    if missing:
        raise ModelError(f"expected an adapter of likes and dislikes, got one without {missing[0]}")
    return form


@torch.no_grad()
def _made_up(model: PrefGen, group: Group) -> Tensor:
    encoder = model.user_encoder
    generator = torch.Generator().manual_seed(0)
    seen = F.normalize(torch.randn(N_MADE_UP, encoder.config.d_clip, generator=generator), dim=-1)
    where = next(encoder.parameters())
    return encoder.side(group).picture_tokens(seen.to(where)).flatten(0, 1).float().cpu()
