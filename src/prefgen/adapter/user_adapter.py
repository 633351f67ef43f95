"""The user adapter: injected into a frozen network it makes it listen to a person; ejected it leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from torch import Tensor, nn

from prefgen.adapter.attention import (
    GroupState,
    JointUserAttentionProcessor,
    UserAttentionProcessor,
    UserBranch,
    UserKeysValues,
    UserState,
    ValueStart,
)
from prefgen.adapter.sites import Site, sites_of
from prefgen.adapter.tokens import GROUPS, Group, UserTokens
from prefgen.core import InputError, ModelError, nearest_hint

if TYPE_CHECKING:
    from jaxtyping import Float

    Strength = float | Float[Tensor, " batch"]


class UserAdapter(nn.Module):
    """Decoupled user cross-attention for every layer that attends to text (method: IP-Adapter, arXiv 2308.06721): the
    cross-attentions of a UNet, the double blocks of a diffusion transformer (`prefgen.adapter.sites`).

    It holds two bias-free matrices for each layer and token group and nothing else; the model is never changed, only
    its attention processors are exchanged while injected. While `silent`, nobody is heard, at no cost.

    ```python
    adapter = UserAdapter.for_network(pipe.unet)
    with adapter.injected(pipe.unet), adapter.users(tokens, like_strength=0.8):
        velocity = pipe.unet(latents, timestep, text).sample
    ```
    """

    def __init__(
        self, layers: Sequence[nn.ModuleDict], groups: Sequence[Group], d_cross: int, network: str = ""
    ) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(layers)
        self.groups = tuple(groups)
        self.d_cross = d_cross
        self._state: UserState | None = None
        self.silent = False
        self._originals: list[tuple[Any, object]] = []
        self._thawed: list[nn.Parameter] = []

    @staticmethod
    def for_network(network: nn.Module, groups: Sequence[str] = GROUPS, *, init: str = "zero") -> UserAdapter:
        """Builds an adapter of the widths of `network`, a UNet or a diffusion transformer.

        Keys start as copies of the text keys. Values start at zero, so that training starts at the plain model
        (`init="zero"`), or as copies of the text values (`init="copy"`, as IP-Adapter does).
        """
        names, start, sites = _checked_groups(groups), _checked_start(init), sites_of(network)
        widths = sorted({site.d_cross for site in sites})
        if len(widths) != 1:
            raise ModelError(f"expected a network whose text attentions share one input width, got {widths}")
        layers = [nn.ModuleDict({name: UserKeysValues(site, start) for name in names}) for site in sites]
        return UserAdapter(layers, names, widths[0], type(network).__name__)

    @property
    def state(self) -> UserState | None:
        """The users of the batch at hand, as set by `users`; None is nobody."""
        return self._state

    def _spoken(self) -> UserState | None:
        return None if self.silent else self._state

    @property
    def is_injected(self) -> bool:
        """True between `inject` and `eject`."""
        return bool(self._originals)

    @torch.no_grad()
    def copy_group(self, source: Group, target: Group) -> None:
        """Gives `target` the weights of `source` in every layer. Raises `ModelError` for a group that is not there."""
        for name in (source, target):
            if name not in self.groups:
                raise ModelError(f"expected a group of {self.groups}, got {name!r}")
        for layer in range(len(self.layers)):
            branches = self._branches(layer)
            branches[target].load_state_dict(branches[source].state_dict())

    def inject(self, network: nn.Module) -> None:
        """Makes `network` listen to this adapter and freezes it, so that gradients reach only the adapter.

        Raises `ModelError` if the adapter is injected already, has other widths, or if the model carries attention
        processors of someone else (a stock IP-Adapter, for example).
        """
        if self.is_injected:
            raise ModelError("expected an adapter that is not in use, got one that is injected already")
        sites = sites_of(network)
        check_kind(network, self.network)
        self._check_fits(sites)
        for layer, site in enumerate(sites):
            self._originals.append((site.attention, site.attention.processor))
            site.attention.set_processor(self._processor(layer, site))
        self._thawed = [parameter for parameter in network.parameters() if parameter.requires_grad]
        for parameter in self._thawed:
            parameter.requires_grad_(False)

    def _processor(self, layer: int, site: Site) -> UserAttentionProcessor | JointUserAttentionProcessor:
        branch = UserBranch(self._spoken, layer, self._branches(layer), norms_keys=site.norms_keys)
        if site.form == "cross":
            return UserAttentionProcessor(branch, site.attention.processor)
        return JointUserAttentionProcessor(branch, site.attention.processor, beside=site.form == "joint beside")

    def eject(self) -> None:
        """Gives the model back the very processors it had and thaws what `inject` froze."""
        for attention, original in self._originals:
            attention.set_processor(original)
        for parameter in self._thawed:
            parameter.requires_grad_(True)
        self._originals, self._thawed = [], []

    @contextmanager
    def injected(self, network: nn.Module) -> Iterator[UserAdapter]:
        """`inject` on entry, `eject` on exit, whatever happens between."""
        self.inject(network)
        try:
            yield self
        finally:
            self.eject()

    @contextmanager
    def users(
        self,
        tokens: UserTokens | None,
        like_strength: Strength = 1.0,
        dislike_strength: Strength = 1.0,
        *,
        n_plain_rows: int = 0,
    ) -> Iterator[UserAdapter]:
        """Says who is listened to: one row of tokens for each row of the model's batch.

        A strength is a number or a tensor `[batch]`. Rows of zero tokens or of strength 0, and everyone if `tokens` is
        None, get the plain model's output bit for bit. The model's first `n_plain_rows` rows, which come before those
        of the tokens, hear nobody at no cost: the unconditional half under classifier-free guidance. With gradient
        checkpointing call `backward` inside this context, since the forward pass is run again there.
        """
        previous = self._state
        self._state = self.state_for(tokens, like_strength, dislike_strength, n_plain_rows=n_plain_rows)
        try:
            yield self
        finally:
            self._state, self.silent = previous, False

    def state_for(
        self,
        tokens: UserTokens | None,
        like_strength: Strength = 1.0,
        dislike_strength: Strength = 1.0,
        *,
        n_plain_rows: int = 0,
    ) -> UserState | None:
        """What `users` sets, to be set by `hear`: for loops that call a network several times, for others each time."""
        return self._state_of(tokens, {"like": like_strength, "dislike": dislike_strength}, n_plain_rows)

    def hear(self, state: UserState | None) -> None:
        """Listens to `state` until told otherwise; None is nobody. Prefer `users`, which ends by itself."""
        self._state = state

    def extra_repr(self) -> str:
        """Names groups, layers and token width, so that `repr` explains the adapter."""
        return f"groups={self.groups}, n_layers={len(self.layers)}, d_cross={self.d_cross}"

    def branches(self) -> list[nn.Module]:
        """What holds the weights: every layer's keys and values of each group, called when the layer is."""
        return [branch for layer in range(len(self.layers)) for branch in self._branches(layer).values()]

    def _branches(self, layer: int) -> Mapping[Group, UserKeysValues]:
        return dict(self.layers[layer].items())  # pyright: ignore[reportCallIssue, reportReturnType, reportArgumentType]

    def _state_of(
        self, tokens: UserTokens | None, strengths: Mapping[Group, Strength], n_plain_rows: int
    ) -> UserState | None:
        if tokens is None:
            return None
        groups: dict[Group, GroupState] = {}
        for name in GROUPS:
            if (rows := tokens.group(name)) is not None:
                self._check_tokens(name, rows)
                groups[name] = _group_state(rows, strengths[name])
        nobody_heard = not any(bool(group.heard.any()) for group in groups.values())
        return UserState(groups=groups, n_rows=len(tokens), n_plain_rows=n_plain_rows, nobody_heard=nobody_heard)

    def _check_tokens(self, name: Group, tokens: Tensor) -> None:
        if name not in self.groups:
            raise InputError(f"expected user tokens of the groups {', '.join(self.groups)}, got {name} tokens")
        if tokens.shape[-1] != self.d_cross:
            raise InputError(f"expected {name} tokens of width {self.d_cross}, got {tokens.shape[-1]}")

    def _check_fits(self, sites: Sequence[Site]) -> None:
        if len(sites) != len(self.layers):
            raise ModelError(
                f"expected a network with {len(self.layers)} layers that attend to text, got {len(sites)}",
                hint="the adapter was made for another network",
            )
        for layer, site in enumerate(sites):
            ours = next(iter(self._branches(layer).values())).to_k_ip
            if (ours.out_features, ours.in_features) != (site.width, site.d_cross):
                raise ModelError(
                    f"expected {site.name} to map {ours.in_features} to {ours.out_features} features, "
                    f"got {site.d_cross} to {site.width}"
                )
            processor = site.attention.processor
            if type(processor) is not site.stock:
                raise ModelError(
                    f"expected {site.stock.__name__} in {site.name}, got {type(processor).__name__}",
                    hint="first `unload_ip_adapter`, eject other adapters, or `set_attn_processor` the stock ones",
                )


def check_kind(network: nn.Module, made_for: str) -> None:
    """Raises `ModelError` where an adapter was made for a network of another class; an empty name fits any."""
    kind = type(network).__name__
    if made_for and made_for != kind:
        raise ModelError(
            f"expected an adapter for {kind}, got one for {made_for}",
            hint="an adapter belongs to the backbone it was trained on: train one for this backbone, or load the other",
        )


def _group_state(tokens: Tensor, strength: Strength) -> GroupState:
    rows = torch.as_tensor(strength, dtype=torch.float32, device=tokens.device)
    if rows.ndim > 1 or (rows.ndim == 1 and len(rows) != len(tokens)):
        raise InputError(f"expected a strength for each of {len(tokens)} rows, or one number, got {list(rows.shape)}")
    rows = rows.expand(len(tokens))
    somebody = (tokens.detach() != 0).flatten(1).any(dim=1)
    heard = somebody & (rows.detach() != 0)
    places = heard.nonzero()[:, 0].tolist()
    span = slice(places[0], places[-1] + 1) if places else slice(0, 0)
    return GroupState(tokens=tokens, strength=rows, heard=heard, span=span)


def _checked_groups(groups: Sequence[str]) -> tuple[Group, ...]:
    unknown = [name for name in groups if name not in GROUPS]
    if unknown or not groups or len(set(groups)) != len(groups):
        hint = nearest_hint(unknown[0], GROUPS) if unknown else None
        raise InputError(f"expected distinct token groups from {', '.join(GROUPS)}, got {tuple(groups)}", hint=hint)
    return cast(tuple[Group, ...], tuple(groups))


def _checked_start(init: str) -> ValueStart:
    starts = get_args(ValueStart)
    if init not in starts:
        raise InputError(f"expected init 'zero' or 'copy', got {init!r}", hint=nearest_hint(init, starts))
    return cast(ValueStart, init)
