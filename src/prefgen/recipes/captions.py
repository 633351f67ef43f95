"""The words the generator and CLIP are taught, and how a training picture is captioned."""

from __future__ import annotations

import numpy as np

from prefgen.agents.scene import Scene, article, caption_of, prompt_of
from prefgen.agents.subjects import SUBJECTS
from prefgen.agents.vocabulary import FAMILIES, SETTINGS, all_values
from prefgen.core import numpy_rng


def training_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Subject and setting with none to all of the picture's attributes, in random order.

    Three captions in four name every attribute, the others a random part. One in twelve leaves out the subject.
    """
    families = [str(f) for f in rng.permutation(list(scene.values))]
    if rng.random() < 0.25:
        families = families[: int(rng.integers(0, len(families) + 1))]
    if families and rng.random() < 1 / 12:
        return ", ".join(scene.values[f] for f in families)
    return caption_of(scene, families)


def known_words() -> tuple[str, ...]:
    """Every subject, setting and attribute value that captions can name."""
    return (*SUBJECTS, *SETTINGS, *all_values())


def example_texts(n: int = 4000, seed: int = 0) -> list[str]:
    """Captions and attribute strings for the tokenizer: every known word several times."""
    rng = numpy_rng("tokenizer texts", seed)
    texts = [article(s) for s in SUBJECTS] * 3 + list(SETTINGS) * 3 + list(all_values()) * 3
    for _ in range(n):
        values = {f: str(rng.choice(v)) for f, v in FAMILIES.items()}
        scene = Scene(subject=str(rng.choice(SUBJECTS)), setting=str(rng.choice(SETTINGS)), values=values)
        texts.append(caption_of(scene) if rng.random() < 0.7 else prompt_of(scene))
    return texts
