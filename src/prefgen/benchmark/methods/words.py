"""What methods share that know a taste in words only: the preference model names it, the plain model is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prefgen.benchmark.chain import pictures_as_array
from prefgen.benchmark.methods.protocol import Bench
from prefgen.benchmark.tasks import Shelf, Task


@dataclass(frozen=True, kw_only=True)
class UnderstoodWords:
    """The strongest words of both sides, strongest first."""

    liked: tuple[str, ...]
    disliked: tuple[str, ...]


def understood_words(bench: Bench, shelf: Shelf, n_words: int) -> UnderstoodWords:
    """Up to `n_words` words a side that the chain's preference model reads from a shelf's pictures and labels."""
    profile = bench.chain.profile(liked=shelf.liked, disliked=shelf.disliked)
    found = bench.chain.explain(profile)
    return UnderstoodWords(
        liked=tuple(word.word for word in found.likes[:n_words]),
        disliked=tuple(word.word for word in found.dislikes[:n_words]),
    )


def words_of_tasks(bench: Bench, tasks: Sequence[Task], n_words: int) -> list[UnderstoodWords]:
    """Each task's words; every shelf is read once."""
    shelves = {id(t.case.shelf): t.case.shelf for t in tasks}
    known = {key: understood_words(bench, shelf, n_words) for key, shelf in shelves.items()}
    return [known[id(t.case.shelf)] for t in tasks]


@torch.no_grad()
def text_states(bench: Bench, texts: Sequence[str]) -> Tensor:
    """[n, length, d]: what the pipeline's text encoder hands the network for each text."""
    pipe = bench.chain.pipe
    states, _ = pipe.encode_prompt(list(texts), pipe.device, 1, False)
    return states


def paint_states(
    bench: Bench, tasks: Sequence[Task], states: Tensor, negative: Tensor, guidance_scale: float
) -> list[np.ndarray]:
    """One batch of pictures from text states [n, length, d] of both branches, each from its task's own seed."""
    pictures = bench.chain.pipe(
        prompt_embeds=states,
        negative_prompt_embeds=negative,
        guidance_scale=guidance_scale,
        num_inference_steps=bench.sampling.n_steps,
        generator=[torch.Generator().manual_seed(t.seed) for t in tasks],
    ).images
    return pictures_as_array(pictures)
