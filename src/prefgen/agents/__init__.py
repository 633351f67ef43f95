"""Simulated people and the painter of their pictures."""

from prefgen.agents.painter import SIDE_PX, paint
from prefgen.agents.people import (
    Dials,
    Person,
    Shown,
    Taste,
    attribute_string,
    history_of,
    new_person,
    random_prompt,
    rendering,
    training_person,
)
from prefgen.agents.scene import Scene, caption_of, is_reserved, prompt_of, random_scene
from prefgen.agents.subjects import SUBJECTS
from prefgen.agents.vocabulary import CONTINUOUS, FAMILIES, LOOKS, RESERVED_SUBJECTS, SETTINGS, all_values, family_of

__all__ = [
    "CONTINUOUS",
    "FAMILIES",
    "LOOKS",
    "RESERVED_SUBJECTS",
    "SETTINGS",
    "SIDE_PX",
    "SUBJECTS",
    "Dials",
    "Person",
    "Scene",
    "Shown",
    "Taste",
    "all_values",
    "attribute_string",
    "caption_of",
    "family_of",
    "history_of",
    "is_reserved",
    "new_person",
    "paint",
    "prompt_of",
    "random_prompt",
    "random_scene",
    "rendering",
    "training_person",
]
