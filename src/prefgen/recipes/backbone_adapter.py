"""The adapter of any backbone, trained on prepared rows: a projector and two matrices a layer, nothing else.

The network may be Stable Diffusion 1.5, XL, 3, 3.5 or FLUX, in any dtype, with gradient checkpointing or without; it is
frozen and stands outside the module, so that optimiser, averages and checkpoints never see it. The loop is the one of
every other stage (`prefgen.recipes.loop`): bit for bit resumable, with averaged weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prefgen.adapter import GROUPS, Group, UserAdapter, UserTokens, load_adapter, save_adapter
from prefgen.alignment import Projector
from prefgen.core import ModelError, numpy_rng
from prefgen.diffusion import backbone_loss
from prefgen.recipes import ranks
from prefgen.recipes.attention import stock_attention
from prefgen.recipes.loop import Deadline, Loop, LoopSettings
from prefgen.recipes.prepared_rows import RowFolder, Rows
from prefgen.recipes.sharding import Cut, layers_of

NOBODY_RATE = 0.08
"""Share of rows that hear nobody, of each side by itself."""
CONFIG_NAME, WEIGHTS_NAME = "projector.json", "projector.safetensors"


class PersonalBackbone(nn.Module):
    """What is trained: one projector, which reads likes and dislikes alike, and the adapter.

    The adapter stays in float32, whatever the network's dtype: its steps are smaller than bfloat16 can tell.
    """

    def __init__(self, network: nn.Module, adapter: UserAdapter, projector: Projector) -> None:
        super().__init__()
        self.adapter, self.projector = adapter, projector
        self.network: list[nn.Module] = [network]

    @staticmethod
    def for_network(network: nn.Module, *, d_user: int, n_tokens: int = 8, init: str = "copy") -> PersonalBackbone:
        """A fresh one for user embeddings of width `d_user`."""
        adapter = UserAdapter.for_network(network, init=init).float()
        projector = Projector(d_user, adapter.d_cross, n_tokens).to(next(adapter.parameters()).device)
        return PersonalBackbone(network, adapter, projector)

    def tokens(self, users: Mapping[Group, Tensor]) -> UserTokens:
        """User tokens [batch, n_tokens, d_cross] of user embeddings [batch, d_user] by group; zeros stay nobody."""
        told = {name: self.projector(u) * (u != 0).any(-1)[:, None, None] for name, u in users.items()}
        return UserTokens(**told)

    def hear(self, users: Mapping[Group, Tensor]) -> None:
        """Lets the network hear these users until told otherwise, so that gradient checkpointing may run it again."""
        self.adapter.hear(self.adapter.state_for(self.tokens(users)))

    def layers(self) -> list[nn.Module]:
        """What is gathered in turn where weights are cut over several processes: the network's and the adapter's."""
        return [*layers_of(self.network[0]), *self.adapter.branches()]

    def save(self, folder: Path) -> None:
        """Writes projector and adapter below `folder`, in float32."""
        save_adapter(self.adapter, folder / "adapter")
        first = self.projector.proj[0]
        config = {"d_in": first.in_features, "d_out": self.projector.d_out, "n_tokens": self.projector.n_tokens}
        (folder / CONFIG_NAME).write_text(json.dumps(config, indent=1) + "\n")
        weights = {name: value.detach().cpu().contiguous() for name, value in self.projector.state_dict().items()}
        save_file(weights, folder / WEIGHTS_NAME)

    @staticmethod
    def load(folder: Path, network: nn.Module) -> PersonalBackbone:
        """Reads what `save` wrote, for the same kind of network (not yet injected)."""
        adapter = load_adapter(folder / "adapter", network)
        try:
            config = json.loads((folder / CONFIG_NAME).read_text())
            projector = Projector(config["d_in"], config["d_out"], config["n_tokens"])
            projector.load_state_dict(load_file(folder / WEIGHTS_NAME))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelError(f"expected a projector in {folder}, got: {error}") from error
        return PersonalBackbone(network, adapter, projector.to(next(adapter.parameters()).device))


def adapter_loss(
    model: PersonalBackbone, scheduler: Any, rows: Rows, generator: torch.Generator, **objective: Any
) -> dict[str, Tensor]:
    """One step's loss on `rows`; in `NOBODY_RATE` of them a side is not heard.

    `objective` is for `backbone_loss`: `min_snr`, `flow_weighting`, `time_mean`, `time_std`. Random numbers come from
    `generator`, on the CPU, in this order: which sides are heard, then times, then noise.
    """
    heard = torch.rand(len(GROUPS), len(rows), 1, generator=generator) >= NOBODY_RATE
    users: dict[Group, Tensor] = {
        name: getattr(rows, name) * there.to(rows.like.device) for name, there in zip(GROUPS, heard)
    }
    model.hear({name: ranks.own(u) for name, u in users.items()})
    per_sample = backbone_loss(
        model.network[0], scheduler, rows.latents, rows.conditions, generator, share=ranks.shared, **objective
    )
    return {"loss": per_sample.mean()}


def train_backbone_adapter(
    model: PersonalBackbone,
    scheduler: Any,
    rows: RowFolder,
    folder: Path,
    settings: LoopSettings,
    *,
    deadline: Deadline | None = None,
    gradient_checkpointing: bool = True,
    cut_on: torch.device | None = None,
    **objective: Any,
) -> PersonalBackbone:
    """Trains on the network's own device and dtype; checkpoints below `folder`; ends with the averaged weights.

    With `cut_on`, several processes cut network and model among them (FSDP2) and compute on that device. What is given
    back is then, on the first of them, a copy in main memory, and on the others the model with its part of the weights.

    Every step's rows and noise depend on its number alone. Raises `Unfinished` at the deadline; call again to go on.
    """
    network: Any = model.network[0]
    where, dtype = cut_on or network.device, network.dtype
    copy = model
    cut = None if cut_on is None else Cut(layers=model.layers(), beside=[network], device=cut_on)
    if cut is not None and ranks.is_first():
        copy = PersonalBackbone(network, deepcopy(model.adapter).cpu(), deepcopy(model.projector).cpu())

    def loss(step: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        rng = numpy_rng("backbone rows", settings.seed, step)
        drawn = [int(i) for i in rng.integers(0, len(rows), settings.batch_size)]
        with stock_attention():
            return adapter_loss(model, scheduler, rows.rows(drawn).to(where, dtype), generator, **objective)

    if gradient_checkpointing:
        network.enable_gradient_checkpointing()
    try:
        with model.adapter.injected(network), model.adapter.users(None):
            loop = Loop("backbone-adapter", folder, model, loss, settings, cut=cut)
            loop.run(deadline or Deadline())
            loop.use_ema()
    finally:
        network.disable_gradient_checkpointing()
    if loop.is_cut:
        weights = loop.whole_parameters()
        if ranks.is_first():
            copy.load_state_dict(weights)
    return copy
