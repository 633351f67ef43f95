"""The second cross-attention: how one attention layer listens to text and, beside it, to a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from prefgen.adapter.sites import Site, linear
from prefgen.core import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from prefgen.adapter.tokens import Group

ValueStart = Literal["zero", "copy"]


class UserKeysValues(nn.Module):
    """Keys and values of one token group in one layer (the `to_k_ip`, `to_v_ip` of IP-Adapter, arXiv 2308.06721)."""

    def __init__(self, site: Site, start: ValueStart) -> None:
        super().__init__()
        text_keys = site.text_keys()
        width, d_cross = text_keys.shape
        self.to_k_ip = nn.Linear(d_cross, width, bias=False, device=text_keys.device)
        self.to_v_ip = nn.Linear(d_cross, width, bias=False, device=text_keys.device)
        with torch.no_grad():
            self.to_k_ip.weight.copy_(text_keys)
            if start == "copy":
                self.to_v_ip.weight.copy_(site.text_values())
            else:
                self.to_v_ip.weight.zero_()

    def forward(
        self, tokens: Float[Tensor, "batch n_tokens d_cross"]
    ) -> tuple[Float[Tensor, "batch n_tokens width"], Float[Tensor, "batch n_tokens width"]]:
        """Keys and values of user tokens, computed in the dtype of the weights."""
        tokens = tokens.to(self.to_k_ip.weight.dtype)
        return self.to_k_ip(tokens), self.to_v_ip(tokens)


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupState:
    """One token group of the batch at hand: the tokens, each row's strength, and which rows hear them at all.

    `span` holds every row that hears the group: under guidance likes and dislikes speak in one half each, and the
    other half need not be attended to. While gradients are recorded all rows are.
    """

    tokens: Float[Tensor, "batch n_tokens d_cross"]
    strength: Float[Tensor, " batch"]
    heard: Bool[Tensor, " batch"]
    span: slice


@dataclass(frozen=True, kw_only=True, eq=False)
class UserState:
    """Everything the attention layers must know of the users in the batch at hand.

    `keys_values` keeps each layer's user keys and values between the steps of one sampling run, since the tokens do
    not change with the step; it is not used while gradients are recorded. The model's batch has `n_plain_rows` rows
    that hear nobody, then the `n_rows` rows of the tokens.
    """

    groups: Mapping[Group, GroupState]
    n_rows: int
    n_plain_rows: int
    nobody_heard: bool
    keys_values: dict[tuple[int, Group, torch.dtype], tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """True where the plain model may run in our stead.

        While gradients are recorded the branch runs even if no row hears it: the output is the same, and a training
        step whose users were all dropped still has a graph to go back through.
        """
        return not self.groups or (self.nobody_heard and not torch.is_grad_enabled())


class UserBranch:
    """A person's part in one attention layer: what their tokens answer to a picture's queries, group by group."""

    def __init__(
        self,
        current_state: Callable[[], UserState | None],
        layer: int,
        branches: Mapping[Group, UserKeysValues],
        *,
        norms_keys: bool,
    ) -> None:
        self.current_state, self.layer, self.branches, self.norms_keys = current_state, layer, branches, norms_keys

    def added(self, attn: Any, query: Tensor, heads: Tensor, state: UserState) -> Tensor:
        """`heads` [rows, heads, length, d] with `Σ_group s_group · Attn(query, K_group, V_group)` added in the rows
        that hear somebody, joined to [rows, length, heads · d]; other rows keep their bits."""
        n_plain = state.n_plain_rows
        if len(query) != n_plain + state.n_rows:
            raise InputError(
                f"expected a model batch of {n_plain} + {state.n_rows} rows, without and with user tokens, "
                f"got {len(query)}",
                hint="under classifier-free guidance half of the rows are unconditional: give `n_plain_rows`",
            )
        plain, rows, user_query = heads[:n_plain], heads[n_plain:], query[n_plain:]
        for name, group in state.groups.items():
            span = slice(None) if torch.is_grad_enabled() else group.span
            key, value = self._keys_values(attn, name, query.dtype, state, span)
            user = F.scaled_dot_product_attention(user_query[span], key, value)
            strength = group.strength[span].to(rows.dtype).view(-1, 1, 1, 1)
            beside = torch.addcmul(rows[span], strength, user)
            told = torch.where(group.heard[span].view(-1, 1, 1, 1), beside, rows[span])
            rows = torch.cat([rows[: span.start], told, rows[span.stop :]]) if len(told) < len(rows) else told
        rows = _join_heads(rows)
        return torch.cat([_join_heads(plain), rows]) if n_plain else rows

    def _keys_values(
        self, attn: Any, name: Group, dtype: torch.dtype, state: UserState, span: slice
    ) -> tuple[Tensor, Tensor]:
        keep = not torch.is_grad_enabled()
        if keep and (self.layer, name, dtype) in state.keys_values:
            return state.keys_values[self.layer, name, dtype]
        key, value = self.branches[name](state.groups[name].tokens[span])
        key, value = _split_heads(attn, key.to(dtype)), _split_heads(attn, value.to(dtype))
        if self.norms_keys and attn.norm_k is not None:
            key = attn.norm_k(key)
        if keep:
            state.keys_values[self.layer, name, dtype] = (key, value)
        return key, value


class UserAttentionProcessor:
    """`Z = Attn(Q, K_text, V_text) + Σ_group s_group · Attn(Q, K_group, V_group)` in one cross-attention layer.

    Outside the sum it does what diffusers' `AttnProcessor2_0` does, operation for operation, so that rows which hear
    nobody keep the plain model's bits; without users it calls the original processor. It is no `nn.Module`: the
    model's own state dict and parameter list never show it.
    """

    def __init__(self, branch: UserBranch, original: object) -> None:
        self.branch, self.original = branch, original

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        state = self.branch.current_state()
        if state is None or state.idle:
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, temb)  # pyright: ignore[reportCallIssue]
        residual = hidden_states
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        spatial = hidden_states.shape[2:] if hidden_states.ndim == 4 else None
        if spatial is not None:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)

        query = _query(attn, hidden_states)
        heads = _attend_to_text(attn, query, hidden_states, encoder_hidden_states, attention_mask)
        out = self.branch.added(attn, query, heads, state).to(query.dtype)

        for layer in cast(nn.ModuleList, attn.to_out):
            out = layer(out)
        if spatial is not None:
            out = out.transpose(-1, -2).unflatten(-1, spatial)
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor


class JointUserAttentionProcessor:
    """The same sum beside a joint attention (Stable Diffusion 3, FLUX): the original processor answers for picture and
    text, and the picture's queries, before any rotary position, ask the person's keys besides.

    With `beside` what they answer is handed to the block, which adds it behind everything else, as diffusers' own
    processor for FLUX does; else it joins the attention's output before its last layer. The queries are projected
    twice, which costs one matrix product a layer.
    """

    def __init__(self, branch: UserBranch, original: object, *, beside: bool) -> None:
        self.branch, self.original, self.beside = branch, original, beside

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        out = self.original(attn, hidden_states, *args, **kwargs)  # pyright: ignore[reportCallIssue]
        state = self.branch.current_state()
        if state is None or state.idle:
            return out
        picture, *text = out if isinstance(out, tuple) else (out,)
        query = _query(attn, hidden_states)
        user = self.branch.added(attn, query, torch.zeros_like(query), state).to(picture.dtype)
        if self.beside:
            return picture, *text, user
        told = picture + _without_bias(attn.to_out[0], user)
        return (told, *text) if text else told


def _without_bias(layer: nn.Module, x: Tensor) -> Tensor:
    """A linear layer's part without its bias; a layer with a style LoRA in it is asked, not looked into."""
    if type(layer) is nn.Linear:
        return F.linear(x, layer.weight)
    return layer(x) - layer(torch.zeros_like(x[:1, :1]))


def _split_heads(attn: Any, x: Tensor) -> Tensor:
    return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _query(attn: Any, hidden_states: Tensor) -> Tensor:
    query = _split_heads(attn, attn.to_q(hidden_states))
    return query if attn.norm_q is None else attn.norm_q(query)


def _attend_to_text(
    attn: Attention, query: Tensor, hidden_states: Tensor, text: Tensor | None, mask: Tensor | None
) -> Tensor:
    if text is None:
        text = hidden_states
    elif attn.norm_cross:
        text = attn.norm_encoder_hidden_states(text)
    if mask is not None:
        mask = attn.prepare_attention_mask(mask, text.shape[1], len(text))
        mask = mask.view(len(text), attn.heads, -1, mask.shape[-1])
    key, value = _split_heads(attn, linear(attn.to_k)(text)), _split_heads(attn, linear(attn.to_v)(text))
    if attn.norm_k is not None:
        key = attn.norm_k(key)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
