"""What a generator's text encoders make of words, whichever family it is of."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prefgen.adapter import network_of
from prefgen.core import ModelError
from prefgen.diffusion import encode_prompts
from prefgen.embedding import word_states

if TYPE_CHECKING:
    from jaxtyping import Float

_T5_PLACE = {"SD3Transformer2DModel": "_3", "FluxTransformer2DModel": "_2"}
"""Which of a transformer's text encoders is the T5: it hears longer texts than CLIP does."""


@torch.no_grad()
def pooled_texts(pipe: Any, texts: Sequence[str], d_text: int) -> Float[Tensor, "n d_text"]:
    """Pooled embeddings, float32, of the generator's first CLIP text encoder whose embeddings are `d_text` wide.

    Raises:
        ModelError: there is none.
    """
    widths = pooled_widths(pipe)
    for place in (place for place, width in widths.items() if width == d_text):
        encoder, tokenizer = (getattr(pipe, f"{part}{place}") for part in ("text_encoder", "tokenizer"))
        batch = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        said = encoder(input_ids=batch.input_ids.to(encoder.device))
        return (said.text_embeds if _projects(encoder) else said.pooler_output).float()
    raise ModelError(
        f"expected a text encoder with embeddings of width {d_text}, got {sorted(widths.values())}",
        hint="the user encoder was made for another generator",
    )


def pooled_widths(pipe: Any) -> dict[str, int]:
    """How wide the pooled embeddings of each CLIP text encoder are, by the suffix of its place in the pipeline."""
    encoders = {place: getattr(pipe, f"text_encoder{place}", None) for place in ("", "_2")}
    return {
        place: encoder.config.projection_dim if _projects(encoder) else encoder.config.hidden_size
        for place, encoder in encoders.items()
        if encoder is not None and "clip" in encoder.config.model_type
    }


def _projects(encoder: Any) -> bool:
    return hasattr(encoder, "text_projection")


@torch.no_grad()
def word_places(pipe: Any, words: Sequence[str]) -> tuple[Float[Tensor, "n_words d"], Float[Tensor, " d"]]:
    """Where words, and silence, lie among the states that the network attends to (`word_states`): T5's where there is
    one, which has no first token, else CLIP's."""
    place = _t5_place(pipe)
    kind = type(network_of(pipe)).__name__
    n_before = pipe.tokenizer_max_length if place and kind == "SD3Transformer2DModel" else 0
    tokenizer = getattr(pipe, f"tokenizer{place or ''}")

    def encode(texts: list[str]) -> Tensor:
        states = encode_prompts(pipe, texts, side_px=1024).text[:, n_before:].float().cpu()
        return torch.cat([states[:, :1], states], 1) if place else states

    return word_states(encode, lambda word: len(tokenizer(word, add_special_tokens=False).input_ids), words)


def n_unheard(pipe: Any, prompt: str, longest_text: int | None = None) -> tuple[int, int]:
    """How many tokens a prompt has, and how many of the last are not heard by the encoder that hears most.

    `longest_text` is the `max_sequence_length` of the call, the pipeline's default if None.
    """
    place = _t5_place(pipe)
    tokenizer = getattr(pipe, f"tokenizer{place or ''}")
    most = tokenizer.model_max_length
    if place:
        most = longest_text or inspect.signature(pipe.__call__).parameters["max_sequence_length"].default
    n = len(tokenizer(prompt).input_ids)
    return n, max(n - most, 0)


def _t5_place(pipe: Any) -> str | None:
    """The suffix of the T5's components; None where the generator has none, or comes without."""
    place = _T5_PLACE.get(type(network_of(pipe)).__name__)
    return place if place and getattr(pipe, f"text_encoder{place}", None) is not None else None
