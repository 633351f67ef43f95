"""Our method without its language model: only the pictures' CLIP embeddings are heard, by weights trained so."""

from __future__ import annotations

import torch

from prefgen.adapter import UserTokens, load_adapter
from prefgen.benchmark.chain import clip_embeddings
from prefgen.benchmark.methods.prefgen import PrefGenMethod
from prefgen.benchmark.methods.protocol import Bench, NotRun
from prefgen.benchmark.tasks import Shelf
from prefgen.core import ModelError
from prefgen.embedding import SIDES, SideFeatures, UserEncoder


class ImageEmbeddingMethod(PrefGenMethod):
    """`PrefGen` with a user encoder and an adapter that were trained on `e_img` alone, as long and on the same people.

    Blanking the other parts of the whole model would starve it: that model learned to lean on them.
    """

    name = "e_img_only"

    def __init__(self, bench: Bench, **settings: float) -> None:
        folder = bench.baselines / self.name
        if not (folder / "user_encoder").is_dir():
            raise NotRun(f"because there are no weights in {folder.parent.name}/{folder.name}")
        super().__init__(bench, **settings)
        try:
            self.encoder = UserEncoder.load(folder / "user_encoder")
            self.adapter = load_adapter(folder / "adapter", bench.chain.pipe.unet).eval()
        except ModelError as error:
            raise NotRun(f"because its weights cannot be used: {error.message}") from error

    @torch.no_grad()
    def tokens(self, shelf: Shelf) -> UserTokens:
        """Rows of tokens that carry `e_img` alone, facets among them; a side without pictures is nobody."""
        like, dislike = (self._side(side, shelf) for side in SIDES)
        return UserTokens(like=like, dislike=dislike.repeat(len(like), 1, 1))

    def _side(self, side: str, shelf: Shelf) -> torch.Tensor:
        config, encoder = self.encoder.config, self.encoder.side(side)
        own, others = (
            clip_embeddings(self.bench.chain, shown) if shown else torch.zeros(0, config.d_clip)
            for shown in ((shelf.liked, shelf.disliked) if side == "like" else (shelf.disliked, shelf.liked))
        )
        if not len(own):
            return torch.zeros(1, config.n_tokens, config.d_cross)
        nothing = torch.zeros(1, 1, config.d_lm)
        features = SideFeatures(last=nothing, mean=nothing, images=own[None], weights=torch.ones(1, len(own)))
        parts = encoder.embed(features)
        whole = encoder.tokens(parts, {part: torch.tensor([part == "img"]) for part in parts})[0]
        votes = [(seen, torch.ones(len(seen))) for seen in (own, others)]
        return self.encoder.person_tokens(side, whole, votes[0], votes[1])
