"""What the generator's text encoders make of people's prompts: computed once, read row by row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from prefgen.diffusion import Conditions, encode_prompts
from prefgen.pipeline.texts import pooled_texts
from prefgen.recipes.checkpoint import save_tensors
from prefgen.recipes.full_people.parts import Parts
from prefgen.recipes.loop import Deadline, Unfinished
from prefgen.recipes.own_data.features import People

PROMPTS_A_FILE = 64
PROMPTS_AT_ONCE = 4


class PromptBook:
    """Conditions of every prompt that people's pictures were made for, and of no prompt at all."""

    def __init__(self, folder: Path, texts: Sequence[str]) -> None:
        self.folder = folder
        self.places = {text: place for place, text in enumerate(texts)}

    def __call__(self, prompts: Sequence[str]) -> Conditions:
        """Conditions of some prompts, one row each."""
        rows: dict[str, list[Tensor]] = {}
        for prompt in prompts:
            number, row = divmod(self.places[prompt], PROMPTS_A_FILE)
            file = _file(self.folder / f"{number:05d}.safetensors")
            for name in file.keys():  # noqa: SIM118
                rows.setdefault(name, []).append(file.get_slice(name)[row : row + 1])
        return Conditions.of({name: torch.cat(parts) for name, parts in rows.items()})


@lru_cache(maxsize=8)
def _file(path: Path) -> Any:
    return safe_open(path, framework="pt").__enter__()


def texts_of(people: Iterable[People]) -> list[str]:
    """Every prompt of those who can be painted for, the empty one first."""
    found = {
        opinion.prompt
        for one in people
        for place in one.paintable.tolist()
        for opinion in one.person(place).opinions
        if opinion.prompt
    }
    return ["", *sorted(found)]


def prompt_book(pipe: Any, parts: Parts, texts: Sequence[str], work: Path, deadline: Deadline) -> PromptBook:
    """The book of these prompts, written on first use.

    Raises:
        Unfinished: the time was up; what was encoded is kept.
    """
    name = hashlib.sha256("\n".join(texts).encode("utf-8", "replace")).hexdigest()[:16]
    folder = work / "prompts" / name
    on_device(pipe, parts.device)
    for number, start in enumerate(range(0, len(texts), PROMPTS_A_FILE)):
        path = folder / f"{number:05d}.safetensors"
        if path.exists():
            continue
        some = texts[start : start + PROMPTS_A_FILE]
        rows: dict[str, list[Tensor]] = {}
        for at in range(0, len(some), PROMPTS_AT_ONCE):
            told = encode_prompts(pipe, some[at : at + PROMPTS_AT_ONCE], side_px=parts.side_px(pipe))
            for key, value in told.tensors().items():
                rows.setdefault(key, []).append(value.cpu())
        save_tensors(path, {key: torch.cat(values) for key, values in rows.items()})
        if deadline.passed:
            raise Unfinished(f"prompts: {start + len(some)} of {len(texts)}")
    return PromptBook(folder, texts)


@torch.no_grad()
def pooled(pipe: Any, texts: Sequence[str], d_text: int) -> Tensor:
    """float32 [n, d_text] on the CPU: where texts lie in the space that `ê_sem` is aligned to."""
    parts = [pooled_texts(pipe, texts[at : at + 32], d_text).cpu() for at in range(0, len(texts), 32)]
    return torch.cat(parts) if parts else torch.zeros(0, d_text)


def on_device(pipe: Any, device: torch.device) -> None:
    """Moves the text encoders there."""
    for place in ("", "_2", "_3"):
        encoder = getattr(pipe, f"text_encoder{place}", None)
        if encoder is not None:
            encoder.to(device)
