"""What the frozen published encoders see in people's pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from prefgen.core import ModelError
from prefgen.diffusion import encode_pictures
from prefgen.mllm.vision import Seen
from prefgen.pipeline.embed import picture_features
from prefgen.pipeline.loading import load_image_encoder
from prefgen.pipeline.stored import MAX_STORED_PX, stored_picture
from prefgen.recipes.full_people.parts import Parts
from prefgen.recipes.own_data.features import joined, squared

PICTURES_AT_ONCE = 1
"""Large pictures in the autoencoder: it stands beside the language model."""


class PublishedEyes:
    """The language model's eyes, CLIP and the autoencoder, as `prefgen.recipes.own_data.features` asks them.

    The first two see pictures as small as a profile keeps them, the autoencoder those that the generator paints.
    """

    def __init__(self, parts: Parts) -> None:
        self.mllm = parts.language_model()
        self.mllm.vision.max_items = 1
        self.clip, self.extractor = load_image_encoder(parts.folder, parts.device)
        self.pipe = parts.pipeline("vae")
        self.pipe.vae.to(parts.device, torch.float32)  # XL's overflows in float16
        self.side_px = parts.side_px(self.pipe)
        self.longest_px = max(MAX_STORED_PX, 3 * self.side_px // 2)

    @torch.no_grad()
    def see(self, pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
        """What `SeesPictures` says, `n_tokens` always.

        Raises:
            ModelError: a network overflows in its dtype.
        """
        small = [stored_picture(picture) for picture in pictures]
        square = [squared(picture, self.side_px) for picture in pictures]
        portions = [square[at : at + PICTURES_AT_ONCE] for at in range(0, len(square), PICTURES_AT_ONCE)]
        latents = [encode_pictures(self.pipe, some, side_px=self.side_px).cpu() for some in portions]
        seen = {
            **as_rows(self.mllm.vision.seen(small)),
            "clip": picture_features(small, self.clip, self.extractor).half().cpu(),
            "latents": torch.cat(latents).half(),
        }
        for name, values in seen.items():
            if not bool(values.isfinite().all()):
                raise ModelError(f"the {name} of a picture are not finite", hint="try --dtype bf16 or float32")
        return seen


def as_rows(seen: Sequence[Seen]) -> dict[str, Tensor]:
    """Pictures as the language model is handed them, a row each, in the form of `SeesPictures`."""
    rows = {
        "tokens": joined([one.tokens[None] for one in seen]).half().cpu(),
        "n_tokens": torch.tensor([len(one.tokens) for one in seen]),
    }
    if seen[0].deeper:
        rows["deeper"] = joined([torch.stack(one.deeper, 1)[None] for one in seen]).half().cpu()
    if seen[0].grid is not None:
        rows["grid"] = torch.tensor([one.grid for one in seen])
    return rows
