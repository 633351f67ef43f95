"""What a picture can be asked for in words, and what has no word.

The six families follow the attribute families seen in PrefGen's figures (arXiv 2512.06020): movement, palette,
composition, hand, texture and medium. The aim is that a classifier tells each value on at least 95 % of paintings and
90 % of their reconstructions by the autoencoder; `weights/judges/attributes.json` says for each how far that holds.
"""

from __future__ import annotations

FAMILIES: dict[str, tuple[str, ...]] = {
    "movement": (
        "pop art",
        "art deco",
        "op art",
        "cubism",
        "impressionism",
        "pointillism",
        "expressionism",
        "de stijl",
        "bauhaus",
        "suprematism",
        "art nouveau",
        "ukiyo-e",
        "memphis",
        "surrealism",
    ),
    "palette": (
        "crimson",
        "tangerine",
        "gold",
        "olive",
        "emerald",
        "teal",
        "azure",
        "violet",
        "rose",
        "sepia",
        "graphite",
        "neon",
        "primary colours",
        "midnight",
    ),
    "composition": (
        "framed",
        "tondo",
        "low horizon",
        "high horizon",
        "tilted",
        "diptych",
        "triptych",
        "vignette",
        "letterbox",
        "spotlight",
        "repetition",
        "window view",
    ),
    "hand": (
        "bold",
        "restrained",
        "impulsive",
        "trembling",
        "angular",
        "broken",
        "echoing",
        "calligraphic",
        "loose",
        "airy",
    ),
    "texture": (
        "grainy",
        "woven",
        "hatched",
        "cracked",
        "speckled",
        "glossy",
        "rippled",
        "marbled",
        "perforated",
        "crumpled",
        "weathered",
    ),
    "medium": (
        "watercolour",
        "ink",
        "silkscreen",
        "charcoal",
        "oil paint",
        "mosaic",
        "stained glass",
        "pixel art",
        "woodcut",
        "embroidery",
        "collage",
        "airbrush",
    ),
}

LOOKS: tuple[str, ...] = ("look-0", "look-1", "look-2", "look-3", "look-4", "look-5", "look-6", "look-7")
"""Eight looks withheld from every caption, question and attribute string: only pictures can show them."""

CONTINUOUS: tuple[str, ...] = ("warmth", "stroke", "size", "place", "density", "contrast")
"""Continuous traits without a word, each in [-1, 1]: hue balance, stroke width, subject size, subject place (left to
right), line density, contrast."""

SETTINGS: tuple[str, ...] = (
    "by a lake",
    "in a forest",
    "in the city",
    "in the mountains",
    "in the desert",
    "in a meadow",
    "in the snow",
    "in a room",
)

RESERVED_SUBJECTS: tuple[str, ...] = ("owl", "cactus", "tent", "bell", "pear", "rocket")
"""Subjects that the generator knows but no preference stage trains on."""


def family_of(value: str) -> str | None:
    """The family a worded value belongs to, or None."""
    return next((family for family, values in FAMILIES.items() if value in values), None)


def all_values() -> tuple[str, ...]:
    """Every worded value, family by family."""
    return tuple(value for values in FAMILIES.values() for value in values)
