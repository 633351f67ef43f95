"""CLIP-T: how well a picture lies where its prompt says, by the model's own text and picture towers.

Stable Diffusion's text encoder has lost its projection, and its picture encoder may be another model's (here it was
trained through a head that was thrown away): the towers share no space. So a ridge regression from the text tower's
pooled embedding of a prompt to the unit picture embedding is learned anew, on paintings of random scenes that no person
of the benchmark owns, and the figure is the cosine between what it expects of the prompt and the picture, both less the
mean picture. 0 is a picture that has nothing of its prompt; the painter's row shows what a true rendering reaches.
CLIPScore (arXiv 2104.08718) proper needs towers that were trained together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from prefgen.agents import paint, prompt_of, random_scene
from prefgen.benchmark.chain import Chain, text_embeddings, unit_clip_embeddings
from prefgen.benchmark.likeness import unit_rows
from prefgen.benchmark.results import Results, Row
from prefgen.core import numpy_rng

N_SCENES, N_SCENES_QUICK = 1536, 384
RIDGE = 0.01
"""Penalty, as a share of the mean variance of the text embeddings' directions."""


@dataclass(frozen=True, kw_only=True)
class PromptReader:
    """What a prompt lets one expect of a picture: `(text - text_mean) @ weights`, beside `picture - picture_mean`."""

    text_mean: np.ndarray
    picture_mean: np.ndarray
    weights: np.ndarray

    def adherence(self, texts: np.ndarray, pictures: np.ndarray) -> np.ndarray:
        """float [n]: cosines of what texts [n, d_text] let expect and what pictures [n, d_clip] show."""
        expected = unit_rows((texts - self.text_mean) @ self.weights)
        return (expected * unit_rows(pictures - self.picture_mean)).sum(1)


def fitted_reader(texts: np.ndarray, pictures: np.ndarray, ridge: float = RIDGE) -> PromptReader:
    """Ridge regression from text embeddings [n, d_text] to picture embeddings [n, d_clip], both about their means."""
    text_mean, picture_mean = texts.mean(0), pictures.mean(0)
    x, y = texts - text_mean, pictures - picture_mean
    covariance = x.T @ x
    penalty = max(ridge * float(np.trace(covariance)) / len(covariance), 1e-12)
    weights = np.linalg.solve(covariance + penalty * np.eye(len(covariance)), x.T @ y)
    return PromptReader(text_mean=text_mean, picture_mean=picture_mean, weights=weights)


@lru_cache(maxsize=1)
def painted_scenes(n: int) -> tuple[list[str], list[Image.Image]]:
    """Prompts and paintings of n random scenes."""
    scenes = [random_scene(numpy_rng("clip-t", i), seed_class="train") for i in range(n)]
    return [prompt_of(s) for s in scenes], [Image.fromarray(paint(s)) for s in scenes]


def reader_of(chain: Chain, n_scenes: int) -> PromptReader:
    """A reader learned from paintings of the training class: nobody's, random in subject, setting and style."""
    prompts, pictures = painted_scenes(n_scenes)
    return fitted_reader(text_embeddings(chain, prompts), unit_clip_embeddings(chain, pictures))


class ClipT:
    """`clip_t_of_the_model`: the more the better, at most 1."""

    name = "clip_t_of_the_model"

    def measure(self, results: Results) -> list[Row]:
        """Rows for every method where there is a model to look."""
        if results.bench is None or not results.tasks:
            return []
        chain = results.bench.chain
        reader = reader_of(chain, N_SCENES_QUICK if results.quick else N_SCENES)
        texts = text_embeddings(chain, [t.prompt for t in results.tasks])
        return [results.mean(m, self.name, reader.adherence(texts, results.clip(m))) for m in results.methods]
