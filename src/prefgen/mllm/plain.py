"""The reference path of every family: one padded row per question, pixels in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from prefgen.core import History
from prefgen.mllm.chat import pictures_in
from prefgen.mllm.vision import pixels_of
from prefgen.mllm.wording import Parts, history_parts, told_from

if TYPE_CHECKING:
    from prefgen.mllm.port import PreferenceMLLM


def plain_logits(mllm: PreferenceMLLM, histories: Sequence[History], questions: Sequence[Parts]) -> Tensor:
    """Logits [n, vocabulary] of each answer's first token, by the family's own processor and padding.

    Slower than the packed reading (nothing is shared or cached), and its measure: both must agree.
    """
    parts = [[*history_parts(told_from(h)), *question] for h, question in zip(histories, questions)]
    images = [[image.convert("RGB") for image in pictures_in(p)] for p in parts]
    inputs = plain_inputs(mllm, [mllm.frame.prompt(p) for p in parts], images)
    with torch.no_grad():
        return mllm.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1].float().cpu()


def plain_inputs(mllm: PreferenceMLLM, texts: Sequence[str], images: Sequence[Sequence[Image.Image]]) -> Any:
    """What the model takes of prompts and their pictures; rows are padded on the left."""
    make = _of_several if mllm.family.lone_picture_differs else _of_all
    return make(mllm, list(texts), [list(row) for row in images]).to(mllm.model.device)


def _of_all(mllm: PreferenceMLLM, texts: list[str], images: list[list[Image.Image]]) -> Any:
    shown = {"images": images} if any(images) else {}
    return mllm.processor(
        text=texts, **shown, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt"
    )


def _of_several(mllm: PreferenceMLLM, texts: list[str], images: list[list[Image.Image]]) -> Any:
    """Every picture as one among others, which the family's own processor does only where there are several."""
    token = mllm.processor.image_token
    run = token * (mllm.processor.num_image_tokens + 1)
    inputs = mllm.processor.tokenizer(
        [text.replace(token, run) for text in texts],
        padding=True,
        padding_side="left",
        add_special_tokens=False,
        return_tensors="pt",
    )
    looks = [pixels_of(mllm.processor, mllm.family, image) for row in images for image in row]
    for name in ("pixel_values", "image_sizes") if looks else ():
        inputs[name] = torch.cat([look[name] for look in looks])
    if looks:
        inputs["batch_num_images"] = torch.tensor([2] * len(looks))
    return inputs
