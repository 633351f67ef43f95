"""What a model says of itself (`prefgen.json`), and the hash by which profiles and pictures know it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefgen.core import ModelError

CARD_NAME = "prefgen.json"
CARD_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Sampling settings chosen on validation; a call may set each of them differently."""

    num_inference_steps: int = 25
    guidance_scale: float = 3.0
    like_strength: float = 1.0
    dislike_strength: float = 1.0
    user_start: float = 0.0
    user_end: float = 1.0
    variety: float = 0.0
    true_cfg_scale: float = 1.0
    """FLUX's guidance proper, beside the distilled `guidance_scale`; above 1 dislikes are heard, at twice the work."""

    def told(self) -> dict[str, float]:
        """All of them by name; the guidance that only FLUX has where it is in use."""
        return {name: value for name, value in vars(self).items() if (name, value) != ("true_cfg_scale", 1.0)}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """`words` are the words and phrases the generator was taught (empty: any), `subjects` those it can paint.

    `known_features` is what `describe_known` wrote, or empty.
    """

    preset: str = ""
    default: Defaults = field(default_factory=Defaults)
    words: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    known_features: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What `prefgen.json` holds."""
        return {
            "version": CARD_VERSION,
            "preset": self.preset,
            "default": self.default.told(),
            "words": list(self.words),
            "subjects": list(self.subjects),
            "known_features": dict(self.known_features),
        }


def write_card(card: ModelCard, folder: Path) -> None:
    """Writes `prefgen.json`."""
    (folder / CARD_NAME).write_text(json.dumps(card.to_json()) + "\n")


def read_card(folder: Path) -> ModelCard:
    """Reads `prefgen.json`. Raises `ModelError` if it is missing or does not fit."""
    try:
        raw = json.loads((folder / CARD_NAME).read_text())
        version = raw["version"]
        card = ModelCard(
            preset=str(raw.get("preset", "")),
            default=Defaults(**raw.get("default", {})),
            words=tuple(map(str, raw.get("words", ()))),
            subjects=tuple(map(str, raw.get("subjects", ()))),
            known_features=dict(raw.get("known_features") or {}),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"expected a model's description in {folder / CARD_NAME}, got: {error!r}") from error
    if version != CARD_VERSION:
        raise ModelError(
            f"expected a model of version {CARD_VERSION} in {folder}, got version {version!r}",
            hint="this model and this prefgen were made for each other's other versions: upgrade one of them",
        )
    return card


def hash_of_folder(folder: Path, *salt: object) -> str:
    """Sha256 (hex) over the names and contents of a model folder's weights, configs and vocabularies, and `salt`."""
    digest = hashlib.sha256(repr(salt).encode())
    for path in model_files(folder):
        digest.update(f"\n{path.relative_to(folder).as_posix()} ".encode())
        digest.update(_hash_of_file(path))
    return digest.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """A model's files, sorted; hidden files, notes and pictures are none."""
    kinds = {".safetensors", ".json", ".txt", ".model", ".jinja"}
    inside = (path for path in folder.rglob("*") if path.suffix in kinds and path.is_file())
    hidden = (path for path in inside if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(hidden, key=lambda path: path.relative_to(folder).as_posix())


def _hash_of_file(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.digest()
