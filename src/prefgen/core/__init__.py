"""Axis names, frozen records passed between rooms, errors and seeds."""

from prefgen.core.errors import (
    ConfigError,
    ConflictError,
    DataError,
    InputError,
    ModelError,
    PrefGenError,
    ProfileError,
    nearest_hint,
)
from prefgen.core.records import ASPECTS, Aspect, History, HistoryItem, Side, content_hash
from prefgen.core.seeds import numpy_rng, seed_of, torch_generator

__all__ = [
    "ASPECTS",
    "Aspect",
    "ConfigError",
    "ConflictError",
    "DataError",
    "History",
    "HistoryItem",
    "InputError",
    "ModelError",
    "PrefGenError",
    "ProfileError",
    "Side",
    "content_hash",
    "nearest_hint",
    "numpy_rng",
    "seed_of",
    "torch_generator",
]
