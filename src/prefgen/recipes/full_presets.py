"""Full presets: which published backbone and language model, and settings that fit one card of 24 GB where one can.

A full preset starts from published weights by name. What it takes is counted from published configurations alone
(`prefgen.recipes.full_plan`); nothing is downloaded for that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal

from prefgen.core import ConfigError, nearest_hint

Dtype = Literal["float32", "float16", "bf16"]
BYTES_OF: dict[str, int] = {"float32": 4, "float16": 2, "bf16": 2}
BACKBONES = ("sd15", "sdxl", "sd3", "flux")
MLLMS = ("smolvlm", "idefics2", "idefics3", "qwen2.5-vl", "qwen3-vl", "llava-onevision")


@dataclass(frozen=True, kw_only=True)
class FullPreset:
    """One training on published weights: LoRA on the language model, then the adapter on prepared rows."""

    name: str
    backbone: str
    """Record of the generator, see `published`."""
    mllm: str
    """Record of the language model."""
    n_pictures: int = 1_000_000
    """Pictures that are learned from, for the plan alone; the paper's agents have 990,998."""
    dtype: Dtype = "bf16"
    """Of what is frozen. What is trained, its averages and the optimiser's moments are float32."""
    load_4bit: bool = False
    """Whether frozen linear layers are kept in four bits (NF4 with double quantisation, `prefgen.recipes.four_bit`)."""
    gradient_checkpointing: bool = True
    """Runs each block again on the way back, in place of keeping what it made."""
    user_tokens: int = 8
    """Tokens a side, as in the embedded model."""
    d_clip: int = 768
    """Width of the picture embedding behind `e_img` (CLIP ViT-L/14)."""
    image_encoder: str = "openai/clip-vit-large-patch14"
    """Hub name, or folder, of the encoder behind `e_img`."""
    generator: str = ""
    """Hub name, or folder, of a generator of the backbone's kind in place of the published one (a fine-tune of it)."""
    language_model: str = ""
    """The same for the language model."""
    side_px: int = 0
    """Side of the pictures that are learned from; 0 is what the generator paints by default."""
    adapter_batch: int = 1
    adapter_rate: float = 1e-4
    """The learning rate of IP-Adapter (arXiv 2308.06721)."""
    adapter_samples: int = 1_000_000
    ema: bool = True
    """Whether averaged weights are kept on the card beside the adapter's."""
    mllm_batch: int = 1
    """Conversations a step."""
    most_pictures: int = 8
    """Most pictures a side that a history tells."""
    asked_pairs: int = 2
    """Pairs that one history is asked about: yes or no on both, and which of the two."""
    history_pictures: int = 24
    """Pictures in a conversation, for the plan: eight liked, eight disliked, and two pairs shown twice."""
    text_tokens: int = 1_400
    """Words of a conversation, in tokens, for the plan: prompts of sixteen pictures, and the questions."""
    lora_rank: int = 8
    """With alpha 8 and dropout 0.1 as in the paper family's scorer (arXiv 2508.08220)."""
    lora_dropout: float = 0.1
    preference_samples: int = 100_000
    """With people: questions that the language model is fine-tuned on; 0 leaves it as it is published."""
    preference_rate: float = 1e-4
    preference_contrast: float = 0.3
    """λ of the contrastive preference loss."""
    align_people: int = 32
    """With people: how many of them each step draws together with the strings of their tastes."""
    strings_by_model: bool = True
    """With people: whether the language model writes the strings; else they are the prompts, which takes no time."""
    align_weight: float = 0.5
    """Weight of the MMD beside the generator's loss."""
    probed_people: int = 100
    """With people: validation people on whom layers are chosen."""
    choose_every: int = 20_000
    """With people: samples between two looks at validation people; the best weights of all looks are kept."""
    evaluated_people: int = 100
    """With people: most people of a split on whom is chosen and reported."""
    shown_people: int = 4
    """With people: validation people whose held-out prompt is painted into `samples/`, with them and without, at each
    look of the adapter's training; 0 paints nothing."""
    seed: int = 0

    def with_overrides(self, **values: Any) -> FullPreset:
        """The preset with some fields replaced; None leaves one as it is.

        Raises:
            ConfigError: a number that makes no training, or a dtype that is not known.
        """
        made = replace(self, **{name: value for name, value in values.items() if value is not None})
        if made.dtype not in BYTES_OF:
            raise ConfigError(
                f"expected a dtype of {list(BYTES_OF)}, got {made.dtype!r}", hint=nearest_hint(made.dtype, BYTES_OF)
            )
        if made.adapter_batch < 1 or made.mllm_batch < 1:
            raise ConfigError(f"expected a batch of 1 or more, got {min(made.adapter_batch, made.mllm_batch)}")
        for name in ("most_pictures", "asked_pairs", "evaluated_people", "choose_every", "user_tokens"):
            if getattr(made, name) < 1:
                raise ConfigError(f"expected {name} of 1 or more, got {getattr(made, name)}")
        if made.shown_people < 0:
            raise ConfigError(f"expected shown_people of 0 or more, got {made.shown_people}")
        if made.align_people < 2:
            raise ConfigError(
                f"expected align_people of 2 or more, got {made.align_people}", hint="align_weight=0 aligns nobody"
            )
        if made.side_px < 0 or made.side_px % 16:
            raise ConfigError(f"expected side_px as a multiple of 16, got {made.side_px}")
        return made


_OWN: dict[str, dict[str, Any]] = {
    "sd15": {"adapter_batch": 8},
    "sdxl": {},
    "sd3": {},
    "flux": {"load_4bit": True},
}
"""What differs from the defaults on each backbone."""

FULL_PRESETS: dict[str, FullPreset] = {
    f"{backbone}-{mllm}": FullPreset(name=f"{backbone}-{mllm}", backbone=backbone, mllm=mllm, **_OWN[backbone])
    for backbone in BACKBONES
    for mllm in MLLMS
}


def published(name: str) -> dict[str, Any]:
    """The record of a published model: its name on the hub, where the numbers stand, and its configurations."""
    path = files("prefgen.recipes").joinpath("published").joinpath(f"{name}.json")
    if name not in (*BACKBONES, *MLLMS):
        known = [*BACKBONES, *MLLMS]
        raise ConfigError(f"expected a published model of {known}, got {name!r}", hint=nearest_hint(name, known))
    return json.loads(path.read_text())
