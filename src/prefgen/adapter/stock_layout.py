"""User tokens through the front door of a stock IP-Adapter: its projection ends in a LayerNorm, ours need not.

Stock diffusers reads an adapter as a projection (`image_proj`) and keys and values (`ip_adapter`); every projection it
knows ends in a LayerNorm, so that tokens arrive with zero mean and unit variance: on a sphere of C - 2 dimensions where
ours lie anywhere in C. Two dimensions of ours must go. What keys and values make of a token t is W·t, so the space kept
is the one that carries most of W·t for the people at hand: all of it for up to (C - 2) tokens, the least squares
beyond. In coordinates a of that space (C - 2 of them, |a| < radius) a token becomes the point

`z = √C · Q · [a / radius; √(1 - |a|²/radius²)]`,  Q [C, C - 1] orthonormal and orthogonal to the vector of ones,

which a LayerNorm leaves as it is; keys and values read `a` and are blind to the last coordinate. Nobody is a = 0: keys
and values of zero, as with us. The projection before the norm is `x → gelu(x) - gelu(-x) = x` in the layout of
IP-Adapter's "full" projection (`proj.0`, `proj.2`, `proj.3`), the one that takes any number of tokens (*ours*).

FLUX's loader knows the plain projection alone, one embedding to four tokens. There each token is one embedding, handed
over four times: equal tokens share the weight that one would have, so attention answers the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from prefgen.adapter.checkpoint import STATE_PREFIX, to_ip_adapter_state
from prefgen.adapter.tokens import Group
from prefgen.adapter.user_adapter import UserAdapter
from prefgen.core import InputError, ModelError

if TYPE_CHECKING:
    from jaxtyping import Float

LAYER_NORM_EPS = 1e-5
"""What stock projections divide by besides the variance."""
ROOM = 1.5
"""How much longer than the longest known token a token may be."""
PRIOR = 1e-6
"""Weight of directions that no known token takes, beside those that some do."""
N_COPIES = 4
"""Tokens that FLUX's stock projection makes of an embedding."""
_OURS = "prefgen."


@dataclass(frozen=True, kw_only=True, eq=False)
class StockLayout:
    """How one group's tokens are written. `read` [C - 2, C] takes a token to its coordinates, `write` [C, C - 2] takes
    them back, both float64; `radius` is more than the length of any."""

    read: Float[Tensor, "kept d_cross"]
    write: Float[Tensor, "d_cross kept"]
    radius: float

    @staticmethod
    def fitted(weights: Float[Tensor, "width d_cross"], tokens: Float[Tensor, "n_tokens d_cross"]) -> StockLayout:
        """The layout for keys and values `weights` (of all layers, one below the other) that loses least of `tokens`.

        Raises:
            ModelError: tokens too narrow to lose two dimensions, or keys and values of zero, which have no use for any.
        """
        d_cross = weights.shape[1]
        if d_cross < 4 or not bool((weights != 0).any()):
            raise ModelError(f"expected trained keys and values of width 4 or more, got width {d_cross}")
        values, vectors = torch.linalg.eigh(weights.double().T @ weights.double())
        lengths = values.clamp_min(PRIOR**2 * float(values.max())).sqrt()
        felt, unfelt = (vectors * scale @ vectors.T for scale in (lengths, 1 / lengths))  # |felt·t| is |W·t|
        seen = felt @ tokens.double().reshape(-1, d_cross).T
        moment = seen @ seen.T
        moment = moment / moment.diagonal().mean().clamp_min(1e-12)
        moment = moment + PRIOR * felt @ felt / felt.square().sum() * d_cross
        kept = torch.linalg.eigh(moment).eigenvectors[:, 2:]
        read = kept.T @ felt
        longest = (read @ tokens.double().reshape(-1, d_cross).T).norm(dim=0)
        return StockLayout(
            read=read, write=unfelt @ kept, radius=ROOM * max(float(longest.max()) if len(longest) else 0.0, 1e-6)
        )

    @property
    def d_cross(self) -> int:
        """Width of tokens."""
        return self.read.shape[1]

    def points(self, tokens: Float[Tensor, "batch n_tokens d_cross"]) -> Float[Tensor, "batch n_tokens d_cross"]:
        """Tokens as points of the sphere, float32; zeros, which are nobody, become nobody.

        Raises:
            InputError: a token longer than the layout has room for.
        """
        a = tokens.double() @ self.read.T / self.radius
        squares = a.square().sum(-1, keepdim=True)
        if bool((squares > 1).any()):
            times = float(squares.max().sqrt())
            raise InputError(
                f"expected tokens that fit the exported adapter, got one {times:.2f} times too long",
                hint="export adapter and people together, into a new folder",
            )
        return (torch.cat([a, (1 - squares).sqrt()], -1) @ _hyperplane(self.d_cross).T * self.d_cross**0.5).float()

    def from_points(self, weight: Float[Tensor, "width d_cross"]) -> Float[Tensor, "width d_cross"]:
        """Keys' or values' weights for points of the sphere in place of tokens."""
        written = weight.double() @ self.write * (self.radius / self.d_cross**0.5)
        return (written @ _hyperplane(self.d_cross)[:, :-1].T).float()

    def lost(self, weight: Float[Tensor, "width d_cross"], tokens: Float[Tensor, "n d_cross"]) -> float:
        """The share of `|W·t|` that this layout loses, over all tokens."""
        heard = tokens.double() @ weight.double().T
        kept = tokens.double() @ self.read.T @ self.write.T @ weight.double().T
        return float((heard - kept).norm() / heard.norm().clamp_min(1e-12))


@dataclass(frozen=True, kw_only=True)
class StockForm:
    """How one family's loader wants a layout: `image_proj(d_cross)`, `keys_values(weights)` by that family's names, and
    what the pipeline is handed for a side's points, nobody's row or somebody's: `embeds(points)`."""

    image_proj: Callable[[int], dict[str, Tensor]]
    keys_values: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    embeds: Callable[[Float[Tensor, "batch n_tokens d_cross"]], Tensor]


def stock_form(network: nn.Module) -> StockForm:
    """The form that stock diffusers reads for a network.

    Raises:
        ModelError: a family whose stock loader cannot hold this adapter.
    """
    kind = type(network).__name__
    if kind not in FORMS:
        raise ModelError(
            f"expected a network of {' or '.join(FORMS)}, whose stock IP-Adapters can hold this adapter, got {kind}",
            hint="paint with prefgen itself; docs/backbones.md says what stock diffusers computes otherwise there",
        )
    return FORMS[kind]


def stock_state(adapter: UserAdapter, group: Group, layout: StockLayout, form: StockForm) -> dict[str, Tensor]:
    """One group as the flat state dict of a stock IP-Adapter, the layout beside it under a name that stock ignores."""
    plain = to_ip_adapter_state(adapter, group)
    state = form.keys_values({name: layout.from_points(weight.float().cpu()) for name, weight in plain.items()})
    state |= {f"image_proj.{name}": weight for name, weight in form.image_proj(layout.d_cross).items()}
    ours = {f"{_OURS}{name}": getattr(layout, name).float() for name in ("read", "write")}
    ours[f"{_OURS}radius"] = torch.tensor([layout.radius])
    return {name: value.contiguous() for name, value in (state | ours).items()}


def layout_of(state: Mapping[str, Tensor]) -> StockLayout:
    """The layout inside a file that `stock_state` made. Raises `ModelError` for one of someone else."""
    try:
        read, write = (state[f"{_OURS}{name}"].double() for name in ("read", "write"))
        return StockLayout(read=read, write=write, radius=float(state[f"{_OURS}radius"]))
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError("expected an adapter that prefgen exported, got one without its layout") from error


def all_weights(adapter: UserAdapter, group: Group) -> Float[Tensor, "width d_cross"]:
    """Keys' and values' weights of every layer, one below the other, float32."""
    return torch.cat([weight.float().cpu() for weight in to_ip_adapter_state(adapter, group).values()])


def _full_projection(c: int) -> dict[str, Tensor]:
    """The first half of an embedding, through a GELU and a LayerNorm, unchanged."""
    one, none = torch.eye(c), torch.zeros(c, c)
    return {
        "proj.0.weight": torch.cat([torch.cat([one, none], 1), torch.cat([-one, none], 1)]),
        "proj.0.bias": torch.zeros(2 * c),
        "proj.2.weight": torch.cat([one, -one], 1),
        "proj.2.bias": torch.zeros(c),
        "proj.3.weight": torch.full((c,), (1 + LAYER_NORM_EPS) ** 0.5),
        "proj.3.bias": torch.zeros(c),
    }


def _plain_projection(c: int) -> dict[str, Tensor]:
    """An embedding four times, through a LayerNorm, unchanged."""
    return {
        "proj.weight": torch.eye(c).repeat(N_COPIES, 1),
        "proj.bias": torch.zeros(N_COPIES * c),
        "norm.weight": torch.full((c,), (1 + LAYER_NORM_EPS) ** 0.5),
        "norm.bias": torch.zeros(c),
    }


def _numbered_with_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """FLUX's names: layers 0, 1, 2 … in place of 1, 3, 5 …, and biases, which are zero."""
    named: dict[str, Tensor] = {}
    for name, weight in weights.items():
        number, rest = name.removeprefix(STATE_PREFIX).split(".", 1)
        name = f"{STATE_PREFIX}{int(number) // 2}.{rest}"
        named |= {name: weight, name.removesuffix("weight") + "bias": torch.zeros(len(weight))}
    return named


FORMS = {
    "UNet2DConditionModel": StockForm(
        image_proj=_full_projection,
        keys_values=lambda weights: weights,
        embeds=lambda points: torch.cat([points, torch.zeros_like(points)], -1)[:, None],
    ),
    "FluxTransformer2DModel": StockForm(
        image_proj=_plain_projection, keys_values=_numbered_with_biases, embeds=lambda points: points
    ),
}
"""Stable Diffusion 3 is not among them: its stock attention asks the picture's own keys again beside a person's."""


def _hyperplane(n: int) -> Float[Tensor, "n less"]:
    """An orthonormal basis [n, n - 1] of the vectors whose sum is 0 (Helmert's, float64)."""
    basis = torch.zeros(n, n - 1, dtype=torch.float64)
    for k in range(1, n):
        basis[:k, k - 1] = (k * (k + 1)) ** -0.5
        basis[k, k - 1] = -k * (k * (k + 1)) ** -0.5
    return basis
