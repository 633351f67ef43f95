"""What a history says for and against a picture, word by word and in its manner: evidence that adds up.

A picture's CLIP embedding tells which words it shows (each family a choice) and its manner
(`prefgen.embedding.manner`). How much of a word was seen among likes and among dislikes makes an *opinion*, the log
odds that the word adds to a picture that shows it; how counts become opinions is learned from people, the same for all
words of a family. It is naive Bayes with learned weights of evidence (ours): what it knows of a person can be read
off, a picture's weight is so many pictures, an old picture fades, an aspect lets a picture speak of a part, and a said
word counts like pictures that show it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prefgen.core import ASPECTS, ModelError
from prefgen.embedding.manner import Manner

DAYS_A_YEAR = 365.0
_FAMILY_WIDTH = 8


@dataclass(frozen=True, kw_only=True)
class EvidenceConfig:
    """Words with their families, and widths. `scale` and `said_share` weigh evidence against the preference model's own
    log odds: scale * margin + said_share * log odds, both as they differ from those of nobody."""

    d_clip: int
    d_manner: int
    words: tuple[tuple[str, str, str], ...]
    """(word, family, aspect), families one after the other."""
    reading_width: int = 512
    opinion_width: int = 48
    scale: float = 1.0
    said_share: float = 0.0

    @property
    def families(self) -> tuple[str, ...]:
        """The families in the words' order."""
        return tuple(dict.fromkeys(family for _, family, _ in self.words))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a batch of histories shows and says, padded with pictures of weight 0. K words, M directions of manner.

    `words` float [batch, n, K], `manner` float [batch, n, M]; `side` [batch, n], 1 for a like and -1 for a dislike;
    `weights`, `ages` (years before the newest picture) [batch, n]; `aspects` int [batch, n], numbers of `ASPECTS`;
    `comments` [batch, n, 2, K] and `notes` [batch, 2, K], 1 for words said to be liked or disliked, of a picture and by
    themselves; `forgotten` [batch, K], 1 for words of which nothing is to be known.
    """

    words: Tensor
    manner: Tensor
    side: Tensor
    weights: Tensor
    ages: Tensor
    aspects: Tensor
    comments: Tensor
    notes: Tensor
    forgotten: Tensor


@dataclass(frozen=True, kw_only=True)
class Opinions:
    """Log odds that a picture gains: `words` [batch, K] where it shows a word, `manner` [batch, M] for each unit of a
    direction, `offset` [batch] as it is."""

    words: Tensor
    manner: Tensor
    offset: Tensor

    def margins(self, words: Tensor, manner: Tensor) -> Tensor:
        """Log odds [batch, n] that the pictures [batch, n, K] and [batch, n, M] are liked."""
        told = (words * self.words[:, None]).sum(-1) + (manner * self.manner[:, None]).sum(-1)
        return told + self.offset[:, None]


class WordReader(nn.Module):
    """CLIP embeddings to the words that a picture shows: in each family one of its words, or none."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: EvidenceConfig) -> None:
        super().__init__()
        names = [family for _, family, _ in config.words]
        self.sizes = [1 + names.count(family) for family in config.families]
        self.register_buffer("mean", torch.zeros(config.d_clip))
        self.register_buffer("deviation", torch.ones(config.d_clip))
        self.layers = nn.Sequential(
            nn.Linear(config.d_clip, config.reading_width),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(config.reading_width, sum(self.sizes)),
        )

    def choices(self, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Logits [..., 1 + n_words] of each family, the first for none."""
        return self.layers((embeddings - self.mean) / self.deviation).split(self.sizes, -1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """P(the picture shows the word) [..., K] of embeddings [..., d_clip]."""
        return torch.cat([logits.float().softmax(-1)[..., 1:] for logits in self.choices(embeddings)], -1)


class TasteEvidence(nn.Module):
    """Pictures to what they show, histories to opinions."""

    family: Tensor
    heard: Tensor

    def __init__(self, config: EvidenceConfig) -> None:
        super().__init__()
        self.config = config
        families, m, width = config.families, config.d_manner, config.opinion_width
        self.reader = WordReader(config)
        self.manner = Manner(config.d_clip, m)
        number = torch.tensor([families.index(family) for _, family, _ in config.words])
        self.register_buffer("family", number, persistent=False)
        heard = [[float(aspect in ("all", of)) for _, _, of in config.words] for aspect in ASPECTS]
        self.register_buffer("heard", torch.tensor(heard), persistent=False)
        self.family_names = nn.Embedding(len(families), _FAMILY_WIDTH)
        self.direction_names = nn.Embedding(m, _FAMILY_WIDTH)
        self.word_opinion = _small_network(6 + _FAMILY_WIDTH, width, 1)
        self.manner_opinion = _small_network(4 + _FAMILY_WIDTH, width, 2)
        self.manner_heard = nn.Parameter(torch.zeros(len(ASPECTS) - 1, m))
        self.fading = nn.Parameter(torch.tensor(-1.0))
        self.comment_worth = nn.Parameter(torch.tensor(0.0))
        self.note_worth = nn.Parameter(torch.tensor(0.5))
        self.bias = nn.Parameter(torch.zeros(()))

    def train(self, mode: bool = True) -> TasteEvidence:
        """As in any module, but pictures are read as they are while opinions are learned, without dropout."""
        super().train(mode)
        self.reader.eval()
        return self

    def seen(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """What pictures show, from CLIP embeddings [..., d_clip]: words [..., K] and manner [..., M]."""
        return self.reader(embeddings), self.manner(embeddings)[1]

    def forward(self, shown: Shown) -> Opinions:
        """Each history's opinions."""
        voices = shown.weights * torch.exp(-F.softplus(self.fading) * shown.ages)
        sides = torch.stack([(shown.side > 0) * voices, (shown.side < 0) * voices], 1)  # [batch, 2, n]
        counts = sides @ (shown.words * self.heard[shown.aspects])
        said = (shown.comments * voices[..., None, None]).sum(1)
        counts = counts + F.softplus(self.comment_worth) * said + F.softplus(self.note_worth) * shown.notes
        totals = sides.sum(-1, keepdim=True)  # [batch, 2, 1]
        words = self._about(counts, totals, self.family_names.weight[self.family], self.word_opinion, logs=True)[..., 0]
        spoken = torch.cat([torch.ones_like(self.manner_heard[:1]), self.manner_heard.sigmoid()])[shown.aspects]
        means = sides @ (shown.manner * spoken) / (totals + 1)
        told = self._about(means, totals, self.direction_names.weight, self.manner_opinion, logs=False)
        return Opinions(
            words=words * (1 - shown.forgotten), manner=told[..., 0], offset=told[..., 1].sum(-1) + self.bias
        )

    @staticmethod
    def _about(of_sides: Tensor, totals: Tensor, names: Tensor, network: nn.Module, *, logs: bool) -> Tensor:
        """The network's opinion on each of k things [batch, k, n_out] from how much either side shows of it,
        [batch, 2, k], of how many pictures [batch, 2, 1]."""
        told = [of_sides.log1p(), of_sides / (totals + 1)] if logs else [of_sides]
        known = torch.cat([*told, totals.log1p().expand_as(of_sides)], 1).transpose(1, 2)
        return network(torch.cat([known, names.expand(len(known), -1, -1)], -1))

    def save(self, folder: Path | str, dtype: torch.dtype = torch.float16) -> None:
        """Writes `config.json` and `model.safetensors`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=1, ensure_ascii=False) + "\n")
        save_file({k: v.to(dtype).contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path | str) -> TasteEvidence:
        """The inverse of `save`. Raises `ModelError` when files are missing or do not fit."""
        folder = Path(folder)
        try:
            raw = json.loads((folder / "config.json").read_text())
            known = {field.name for field in fields(EvidenceConfig)}
            values = {**{k: raw[k] for k in known & raw.keys()}, "words": tuple(map(tuple, raw["words"]))}
            model = cls(EvidenceConfig(**values))
            model.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise ModelError(f"expected a taste's evidence in {folder.name}/, got {error}") from error
        return model.eval()


def _small_network(n_in: int, width: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, n_out))
