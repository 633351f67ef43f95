"""One variant's user encoder, trained on cached features with everything else frozen: no picture is denoised."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prefgen.agents.people import attribute_string
from prefgen.alignment import mmd2_unbiased, retrieval_top1
from prefgen.core import seed_of
from prefgen.embedding import PARTS, Manner, UserEncoder
from prefgen.probing import LayerChoice
from prefgen.recipes.adapter_words import PeopleWords, encoder_tokens, learn_words, said_tokens
from prefgen.recipes.adapters import begin_with_known_manners, encoder_config
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.people_features import PeopleFeatures
from prefgen.recipes.retrained.variants import Variant
from prefgen.recipes.twins import Twins

N_STRINGS = 50
"""Candidates among which the own attribute string must be found."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What all variants share: features of the training and the validation people, twins with their manner, the text
    tower, the probes' choice, the width of the generator's cross-attention; `key` names all that a figure hangs on."""

    c: Context
    train: PeopleFeatures
    validation: PeopleFeatures
    twins: Twins
    manner: Manner
    text: TextEncoding
    probed: LayerChoice
    d_cross: int
    key: str


def trained_encoder(given: Given, variant: Variant, seed: int) -> UserEncoder:
    """The variant's encoder; its weights begin and its batches are drawn by `seed`. Resumes from its checkpoint."""
    c, people = given.c, given.train
    manner = given.manner
    choice = variant.layer_choice(given.probed, people.last.shape[-2])
    config = encoder_config(c.preset, people, choice, d_cross=given.d_cross, d_manner=manner.whiten.shape[1])
    if not variant.elected:
        config = replace(config, election_width=0.0)
    torch.manual_seed(seed_of("retrained", seed) % 2**63)
    encoder = UserEncoder(config).fitted(manner)
    words = PeopleWords(people, given.text, encoder_tokens(encoder, people, variant.heard), align=variant.align)
    inner = replace(c, work=c.work / "retrained")
    learn_words(
        inner, f"{file_name(variant, seed)}.{given.key}", encoder, words, given.twins, said_tokens(encoder), seed=seed
    )
    begin_with_known_manners(c, encoder)
    return encoder.eval()


def file_name(variant: Variant, seed: int) -> str:
    """How the variant's files are called."""
    return "".join(x if x.isalnum() else "-" for x in variant.name) + f".{seed}"


@torch.no_grad()
def embeddings_of(encoder: UserEncoder, people: PeopleFeatures) -> dict[str, Tensor]:
    """Each part of the likes' embedding of everybody's 4 + 4 pictures, float32 [n_people, d]."""
    users = list(range(len(people)))
    parts = encoder.like.embed(people.side(users, [0] * len(users), 0))
    return {part: parts[part].float() for part in PARTS}


@torch.no_grad()
def alignment_figures(encoder: UserEncoder, given: Given) -> dict[str, float]:
    """On validation people: retrieval of the own attribute string among 50, and MMD², of `e_sem`."""
    sem = embeddings_of(encoder, given.validation)["sem"]
    strings = [attribute_string(given.validation.person(u).person) for u in range(len(given.validation))]
    targets = given.text.pooled(strings)
    found = retrieval_top1(sem, targets, n_candidates=min(N_STRINGS, len(strings)))
    return {"retrieval_top1": float(found.accuracy), "mmd2": float(mmd2_unbiased(sem, targets))}


def linear_cka(a: Tensor, b: Tensor) -> float:
    """Linear centred kernel alignment of two readings [n, d] of the same people (Kornblith and others,
    arXiv 1905.00414): 1 where one is a rotation of the other, near 0 where they have nothing in common."""
    a, b = (x.double() - x.double().mean(0) for x in (a, b))
    shared = (a.T @ b).square().sum()
    return float(shared / ((a.T @ a).norm() * (b.T @ b).norm()).clamp_min(1e-12))
