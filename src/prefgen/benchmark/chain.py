"""What the benchmark asks of a model: the few names it uses, and sampling for many people at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prefgen.adapter import UserAdapter, UserTokens, concatenate_users
from prefgen.agents import SIDE_PX
from prefgen.benchmark.tasks import Shelf, Task
from prefgen.core import History, ModelError
from prefgen.diffusion import sample

CLIP_BATCH = 256
"""Pictures per call of the picture tower."""


class Chain(Protocol):
    """The part of `PrefGen` that the benchmark uses."""

    @property
    def pipe(self) -> Any:
        """The stock pipeline, without anybody's tokens."""
        ...

    @property
    def adapter(self) -> Any:
        """The user adapter (not injected)."""
        ...

    @property
    def user_encoder(self) -> Any:
        """The `UserEncoder` that `embed` runs."""
        ...

    @property
    def mllm(self) -> Any:
        """The preference model (`prefgen.pipeline.PreferenceModel`)."""
        ...

    @property
    def image_encoder(self) -> Any:
        """The CLIP picture encoder (a `CLIPVisionModelWithProjection`)."""
        ...

    @property
    def encoders(self) -> Any:
        """Everything that looks at a history (`prefgen.pipeline.embed.Encoders`); for ablations alone."""
        ...

    def profile(
        self, liked: Sequence[Any] = ..., disliked: Sequence[Any] = ..., *, history: History | None = ...
    ) -> Any:
        """A person's profile from PIL images, or from a history."""
        ...

    def embed(self, profile: Any) -> Any:
        """The profile's tokens: rows of `UserTokens`, or a mapping of both groups."""
        ...

    def score_history(self, history: History, images: Sequence[Any]) -> list[float]:
        """The same by a history that is no profile, also by an empty one."""
        ...

    def explain(self, profile: Any) -> Any:
        """What was understood in words: `likes` and `dislikes`, each of `.word` and `.weight`, strongest first."""
        ...

    def score(self, profile: Any, images: Sequence[Any]) -> list[float]:
        """P(this person likes the image) for each image."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How all methods of one run sample."""

    n_steps: int = 16
    batch: int = 16
    """Pictures per call of the pipeline."""


def user_tokens(chain: Chain, profile: Any) -> UserTokens:
    """A profile's tokens: a row for the whole taste, then one for each facet."""
    tokens = chain.embed(profile)
    if isinstance(tokens, UserTokens):
        return tokens
    if not isinstance(tokens, Mapping):
        raise ModelError(f"expected `embed` to give UserTokens or a mapping of groups, got {type(tokens).__name__}")

    def rows(name: str) -> Tensor | None:
        group = tokens.get(name)
        return None if group is None else group.reshape(-1, *group.shape[-2:])

    return UserTokens(like=rows("like"), dislike=rows("dislike"))


def tokens_of_shelf(chain: Chain, shelf: Shelf) -> UserTokens:
    """The tokens of a profile made from a shelf's pictures and labels alone."""
    return user_tokens(chain, chain.profile(liked=shelf.liked, disliked=shelf.disliked))


def tokens_of_shelves(shelves: Sequence[Shelf], tokens: Callable[[Shelf], UserTokens]) -> list[UserTokens]:
    """One row of tokens for each of `shelves`; a shelf that stands there several times is read once."""
    rows = {key: tokens(shelf) for key, shelf in {id(shelf): shelf for shelf in shelves}.items()}
    return [rows[id(shelf)] for shelf in shelves]


def pictures_as_array(pictures: Sequence[Image.Image]) -> list[np.ndarray]:
    """PIL pictures as uint8 [64, 64, 3], the side at which judges read."""
    side = (SIDE_PX, SIDE_PX)
    return [
        np.asarray((p if p.size == side else p.resize(side, Image.Resampling.LANCZOS)).convert("RGB")) for p in pictures
    ]


def paint_tasks(
    chain: Chain,
    tasks: Sequence[Task],
    sampling: Sampling,
    *,
    guidance_scale: float,
    prompts: Sequence[str] | None = None,
    negative_prompts: Sequence[str] | None = None,
    tokens: Sequence[UserTokens] | None = None,
    adapter: UserAdapter | None = None,
    like_strength: float = 1.0,
    dislike_strength: float = 1.0,
    user_start: float = 0.0,
    user_end: float = 1.0,
) -> list[np.ndarray]:
    """One picture a task, from its own seed; `prompts`, `negative_prompts` and `tokens` (one row each) run parallel."""
    prompts = [t.prompt for t in tasks] if prompts is None else prompts
    made: list[np.ndarray] = []
    for start in range(0, len(tasks), sampling.batch):
        part = slice(start, start + sampling.batch)
        pictures = sample(
            chain.pipe,
            adapter,
            prompts[part],
            None if tokens is None else concatenate_users(list(tokens[part])),
            generators=[torch.Generator().manual_seed(t.seed) for t in tasks[part]],
            negative_prompt=None if negative_prompts is None else list(negative_prompts[part]),
            guidance_scale=guidance_scale,
            num_inference_steps=sampling.n_steps,
            like_strength=like_strength,
            dislike_strength=dislike_strength,
            user_start=user_start,
            user_end=user_end,
        )
        made += pictures_as_array(pictures)
    return made


def unit_clip_embeddings(chain: Chain, pictures: Sequence[Image.Image]) -> np.ndarray:
    """float64 [n, d_clip]: `clip_embeddings`, each of length 1, a batch at a time."""
    parts = [clip_embeddings(chain, pictures[i : i + CLIP_BATCH]) for i in range(0, len(pictures), CLIP_BATCH)]
    whole = torch.cat(parts) if parts else torch.zeros(0, 1)
    return torch.nn.functional.normalize(whole.double(), dim=-1).cpu().numpy()


@torch.no_grad()
def text_embeddings(chain: Chain, texts: Sequence[str]) -> np.ndarray:
    """float64 [n, d_text]: the pipeline's text encoder's pooled embeddings, a batch at a time."""
    tokenizer, encoder = chain.pipe.tokenizer, chain.pipe.text_encoder
    parts = []
    for i in range(0, len(texts), CLIP_BATCH):
        batch = tokenizer(list(texts[i : i + CLIP_BATCH]), padding="max_length", truncation=True, return_tensors="pt")
        parts.append(encoder(input_ids=batch.input_ids.to(encoder.device)).pooler_output.double().cpu())
    return torch.cat(parts).numpy()


@torch.no_grad()
def clip_embeddings(chain: Chain, pictures: Sequence[Image.Image]) -> Tensor:
    """float32 [n, d_clip]: the `image_embeds` of pictures, unscaled.

    A model's own `feature_extractor` prepares them where it has one; otherwise they are resized to the encoder's side
    and scaled to [-1, 1], as the embedded model was trained.
    """
    processor = getattr(chain, "feature_extractor", None) or getattr(chain.pipe, "feature_extractor", None)
    if processor is not None:
        pixels = processor(images=list(pictures), return_tensors="pt").pixel_values
    else:
        side = chain.image_encoder.config.image_size
        arrays = [np.asarray(p.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)) for p in pictures]
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return chain.image_encoder(pixel_values=pixels.to(next(chain.image_encoder.parameters()))).image_embeds.float()
