"""The manner of training pictures, and tokens that say it, which the generator learns to hear.

No caption says what has no word, so nothing in a generator that reads captions alone stands for it, and an adapter,
which adds keys and values to a frozen network, finds no direction to push: looks were never heard, however well the
embedding tells them (dev/LOG.md, section 9). So in half of the generator's steps tokens of the picture's own manner
follow the caption; the network itself stays a stock one that hears captions alone just as well (ours; cf. the image
embedding beside the caption in unCLIP, arXiv 2204.06125).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prefgen.alignment import Projector
from prefgen.embedding import Manner
from prefgen.embedding.manner import mean_manner
from prefgen.recipes.checkpoint import fingerprint, load_metadata, load_tensors, save_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.people_features import PeopleFeatures
from prefgen.recipes.picture_words import words_in
from prefgen.recipes.population import N_DISLIKED_TARGETS, N_HISTORY, N_LIKED_TARGETS
from prefgen.recipes.twins import twins_of

N_FITTED = 40_000
"""Training pictures, with their twins, by which manner and words are told apart."""


def manner_of_pictures(c: Context) -> Manner:
    """What words leave unexplained of the training pictures' embeddings and their twins show as well."""
    twins = twins_of(c)
    n = min(N_FITTED, len(twins.clip))
    words = torch.tensor([words_in(twins.scene(i)) for i in range(n)])
    return Manner.fit(twins.own[:n].float(), twins.clip[:n].float(), words)


def learn_to_follow(manner: Manner, people: PeopleFeatures) -> None:
    """What to expect of a person's next picture, by the likes and dislikes of the training people's histories."""
    users, n_history = list(range(len(people))), len(people) * [0]
    sides = [people.side(users, n_history, side) for side in (0, 1)]
    with torch.no_grad():
        known = [mean_manner(manner(side.images)[1], side.weights) for side in sides]
        targets = manner(people.clip[:, N_HISTORY:].float())[1]
    liked, disliked = targets.split([N_LIKED_TARGETS, N_DISLIKED_TARGETS], 1)
    manner.learn_to_follow(torch.cat(known), torch.cat(known[::-1]), torch.cat([liked.mean(1), disliked.mean(1)]))


class MannerTokens(nn.Module):
    """CLIP embeddings [n, d_clip] to tokens [n, n_tokens, d_cross] that say their manner."""

    def __init__(self, manner: Manner, d_cross: int, n_tokens: int) -> None:
        super().__init__()
        d_manner = manner.whiten.shape[1]
        self.manner = manner
        self.projector = Projector(d_manner, d_cross, n_tokens, hidden=2 * d_manner)

    def forward(self, embeddings: Tensor) -> Tensor:
        """The tokens."""
        return self.projector(self.manner(embeddings.float())[1])


def save_manner_tokens(c: Context, tokens: MannerTokens) -> None:
    """Keeps what the generator heard manners through, for the adapters to begin with."""
    save_tensors(c.work / "manner.safetensors", dict(tokens.projector.state_dict()), {"made_from": _tower(c)})


def known_manner_tokens(c: Context) -> dict[str, Tensor] | None:
    """The weights of that projector; None where no generator has learned to hear manners of this tower here."""
    path = c.work / "manner.safetensors"
    if not path.exists() or load_metadata(path).get("made_from") != _tower(c):
        return None
    return load_tensors(path)


def _tower(c: Context) -> str:
    return fingerprint(c.out / "image_encoder")
