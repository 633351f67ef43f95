"""Hidden states and picture features to a user embedding `e_u = [ê_sem; e_core; e_img]` and its tokens."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prefgen.alignment import Projector
from prefgen.core import ModelError
from prefgen.embedding.election import elected, facets
from prefgen.embedding.features import SideFeatures
from prefgen.embedding.manner import Manner, mean_manner

PARTS = ("sem", "core", "img")
SIDES = ("like", "dislike")


@dataclass(frozen=True, kw_only=True)
class UserEncoderConfig:
    """Widths and layers. `sem_layers` and `core_layers` index the hidden states, as chosen by the probes."""

    d_lm: int
    d_clip: int
    d_text: int
    d_cross: int
    n_tokens: int
    sem_layers: tuple[int, ...]
    core_layers: tuple[int, ...]
    vote_width: int = 0
    """Width in which each picture is read by itself before the pool; 0 pools linear readings."""
    one_reading: bool = False
    """Whether likes and dislikes are read by the same weights."""
    election_width: float = 0.0
    """Width of the votes by which tokens are elected among a person's pictures; 0 takes the whole embedding's."""
    manner_tokens: int = 0
    """How many of the tokens, the last ones, say a picture's manner (`prefgen.embedding.manner`) and nothing else; the
    others then say nothing of it."""
    d_manner: int = 0
    """Width of the manner."""

    @property
    def word_tokens(self) -> int:
        """How many tokens, the first ones, say words and are elected."""
        return self.n_tokens - self.manner_tokens


class LayerMix(nn.Module):
    """A learned softmax mix over chosen layers, each normalised first (ours; the paper leaves the merge open)."""

    def __init__(self, layers: tuple[int, ...], d: int) -> None:
        super().__init__()
        self.layers = list(layers)
        self.logits = nn.Parameter(torch.zeros(len(layers)))
        self.norm = nn.LayerNorm(d)

    def forward(self, states: Tensor) -> Tensor:
        """[batch, n_states, d] to [batch, d]."""
        mixed = self.norm(states[:, self.layers]) * self.logits.softmax(0)[None, :, None]
        return mixed.sum(1)


class PicturePool(nn.Module):
    """Attention pool over all pictures of a side (ours; the paper takes one, a reviewer fears overfitting to it).

    A picture's weight multiplies its attention, so weight 2 counts like two copies of the picture. Each picture is read
    by itself in `vote_width` before the pool and the mean after it, as in Deep Sets (arXiv 1703.06114): what is
    averaged are votes for what a picture shows, not the pictures.
    """

    def __init__(self, d_clip: int, d_out: int, n_heads: int = 4, vote_width: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_clip)
        self.score = nn.Linear(d_clip, n_heads)
        self.value: nn.Module = nn.Linear(d_clip, d_out)
        self.merge: nn.Module = nn.Identity()
        if vote_width:
            self.value = nn.Sequential(nn.Linear(d_clip, vote_width), nn.GELU())
            self.merge = nn.Linear(vote_width, d_out)
        self.n_heads = n_heads

    def forward(self, images: Tensor, weights: Tensor) -> Tensor:
        """[batch, n, d_clip], [batch, n] to [batch, d_out]; an empty row gives zeros."""
        x = self.norm(images)
        logits = self.score(x) + weights.clamp_min(1e-12).log()[..., None]
        attention = torch.where(weights[..., None] > 0, logits, -1e4).softmax(1)
        value = self.value(x).unflatten(-1, (self.n_heads, -1))
        pooled = self.merge((attention[..., None] * value).sum(1).flatten(1))
        return pooled * (weights.sum(-1, keepdim=True) > 0)


class SideEncoder(nn.Module):
    """One side's features to `[ê_sem; e_core; e_img]`, each `d_text` wide, and that to user tokens."""

    def __init__(self, config: UserEncoderConfig) -> None:
        super().__init__()
        self.config = config
        d = config.d_text
        self.sem_mix = LayerMix(config.sem_layers, config.d_lm)
        self.sem_map = nn.Sequential(nn.Linear(config.d_lm, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.core_mix = LayerMix(config.core_layers, config.d_lm)
        self.core_mean_mix = LayerMix(config.core_layers, config.d_lm)
        self.core_map = nn.Linear(2 * config.d_lm, d)
        self.img_pool = PicturePool(config.d_clip, d, vote_width=config.vote_width)
        self.projector = Projector(3 * d, config.d_cross, config.word_tokens)
        if config.manner_tokens:
            self.manner = Manner(config.d_clip, config.d_manner)
            self.manner_projector = Projector(
                config.d_manner, config.d_cross, config.manner_tokens, 2 * config.d_manner
            )

    def embed(self, side: SideFeatures) -> dict[str, Tensor]:
        """`{"sem", "core", "img"}`, [batch, d_text] each; where tokens say a manner, `img` goes on with the pictures'
        mean manner. `sem` is what alignment draws to the text space."""
        core = torch.cat([self.core_mix(side.last), self.core_mean_mix(side.mean)], -1)
        return {
            "sem": self.sem_map(self.sem_mix(side.last)),
            "core": self.core_map(core),
            "img": self._seen(side.images, side.weights),
        }

    def tokens(self, parts: dict[str, Tensor], keep: dict[str, Tensor] | None = None) -> Tensor:
        """Parts to tokens [batch, n_tokens, d_cross]; `keep[part]` bool [batch] blanks a part (dropout, ablation)."""
        kept = [parts[p] if keep is None else parts[p] * keep[p][:, None].to(parts[p].dtype) for p in PARTS]
        if not self.config.manner_tokens:
            return self.projector(torch.cat(kept, -1))
        d = self.config.d_text
        said = self.projector(torch.cat([*kept[:-1], kept[-1][:, :d]], -1))
        return torch.cat([said, self.manner_projector(kept[-1][:, d:])], 1)

    def picture_tokens(self, images: Tensor) -> Tensor:
        """Tokens [n, n_tokens, d_cross] of CLIP embeddings [n, d_clip], each picture heard alone."""
        seen = self._seen(images[:, None], images.new_ones(len(images), 1))
        nothing = seen.new_zeros(len(images), self.config.d_text)
        return self.tokens({"sem": nothing, "core": nothing, "img": seen})

    def manner_of(self, images: Tensor, weights: Tensor) -> Tensor:
        """The mean manner [d_manner] of CLIP embeddings [n, d_clip] by weights [n]."""
        return mean_manner(self.manner(images)[1], weights)

    def _seen(self, images: Tensor, weights: Tensor) -> Tensor:
        """`e_img` of CLIP embeddings [batch, n, d_clip] and weights [batch, n]."""
        if not self.config.manner_tokens:
            return self.img_pool(images, weights)
        explained, manner = self.manner(images)
        return torch.cat([self.img_pool(explained, weights), mean_manner(manner, weights)], -1)


class UserEncoder(nn.Module):
    """Both sides' encoders. Likes and dislikes are two token groups.

    With `one_reading` they are read by the same weights: what some pictures have in common is one question, whether
    they are liked or not, and it is then learned from both (ours). What a side does to a picture is the adapter's part,
    which has weights for each.
    """

    def __init__(self, config: UserEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.like = SideEncoder(config)
        if not config.one_reading:
            self.dislike = SideEncoder(config)

    def fitted(self, manner: Manner) -> UserEncoder:
        """The same encoder, splitting embeddings as `manner` does."""
        if self.config.manner_tokens:
            for name in SIDES:
                self.side(name).manner.load_state_dict(manner.state_dict())
        return self

    def side(self, name: str) -> SideEncoder:
        """The encoder of `like` or `dislike`."""
        return self.like if name == "like" or self.config.one_reading else self.dislike

    def forward(self, like: SideFeatures, dislike: SideFeatures) -> dict[str, Tensor]:
        """Tokens `{"like", "dislike"}`, each [batch, n_tokens, d_cross]."""
        return {
            name: self.side(name).tokens(self.side(name).embed(features))
            for name, features in (("like", like), ("dislike", dislike))
        }

    def person_tokens(
        self, name: str, whole: Tensor, own: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]
    ) -> Tensor:
        """A side's tokens [1 + n_facets, n_tokens, d_cross], from `whole` [n_tokens, d_cross], those of its whole
        embedding: all of the taste first, then, of likes, its facets (`prefgen.embedding.election`).

        `own` and `others` are CLIP embeddings [n, d_clip] and weights [n] of this side's pictures and of the other's.
        Without `election_width`, or without pictures, `whole` alone.
        """
        if not self.config.election_width or not len(own[0]):
            return whole[None]
        side, n_words = self.side(name), self.config.word_tokens
        voices, opposed = own[1].to(whole), others[1].to(whole)
        candidates = side.picture_tokens(own[0])[:, :n_words]
        against = side.picture_tokens(others[0])[:, :n_words] if len(others[0]) else candidates[:0]
        votes = (candidates, voices, against, opposed, whole[:n_words], self.config.election_width)
        said, heard = facets(*votes) if name == "like" else (elected(*votes)[None], voices[None])
        if not self.config.manner_tokens:
            return said
        theirs = side.manner_of(others[0], opposed) if len(others[0]) else None
        manners = torch.stack([side.manner.followed(side.manner_of(own[0], v), theirs) for v in heard])
        return torch.cat([said, side.manner_projector(manners)], 1)

    def save(self, folder: Path | str, dtype: torch.dtype = torch.float16) -> None:
        """Writes `config.json` and `model.safetensors`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=1) + "\n")
        save_file({k: v.to(dtype).contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path | str) -> UserEncoder:
        """The inverse of `save`. Raises `ModelError` when files are missing or do not fit."""
        folder = Path(folder)
        try:
            raw = json.loads((folder / "config.json").read_text())
            config = UserEncoderConfig(
                **{**raw, "sem_layers": tuple(raw["sem_layers"]), "core_layers": tuple(raw["core_layers"])}
            )
            model = cls(config)
            model.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise ModelError(f"expected a user encoder in {folder.name}/, got {error}") from error
        return model.eval()
