"""The text tower's linear projection into the pictures' space, for the baseline that subtracts a text from a picture.

CLIP's two towers meet in one space through linear projections. Here the picture side is trained against the frozen text
tower through a head that is thrown away, so the shipped towers have no space in common. The projection is fitted anew
in closed form: ridge regression from a prompt's pooled state to the embedding of the picture that was painted from it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prefgen.agents.scene import prompt_of
from prefgen.recipes.checkpoint import save_tensors
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.people_features import picture_embeddings
from prefgen.recipes.pictures import scene_at
from prefgen.recipes.ranks import by_turns

RIDGE = 1e-3
"""Penalty on the weights, as a share of the texts' mean variance."""
N_FITTED = 20_000
"""Training pictures it is fitted on, at most: a hundred for every number of the projection's input."""


def fitted_projection(texts: Tensor, images: Tensor, ridge: float = RIDGE) -> nn.Linear:
    """The ridge regression from text states [n, d_text] to image embeddings [n, d_clip], less the images' mean: an
    average text says nothing of a picture, so that subtracting it leaves the picture as it is."""
    x, y = (values.double() - values.double().mean(0) for values in (texts, images))
    penalty = ridge * x.square().mean() * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(x.T @ x / len(x) + penalty, x.T @ y / len(x)).T
    projection = nn.Linear(x.shape[1], y.shape[1])
    with torch.no_grad():
        projection.weight.copy_(weight)
        projection.bias.copy_(-weight @ texts.double().mean(0))
    return projection


@by_turns
def train_text_projection(c: Context) -> None:
    """Fits the projection and saves it as `baselines/instantstyle/text_projection.safetensors`; seconds."""
    path = c.out.parent / "baselines" / "instantstyle" / "text_projection.safetensors"
    if path.exists():
        return
    images, text = picture_embeddings(c)[:N_FITTED].float(), TextEncoding(c.out)
    prompts = [prompt_of(scene_at("train", i, c.preset.seed)) for i in range(len(images))]
    different = sorted(set(prompts))
    states = torch.cat([text.pooled(different[i : i + 256]) for i in range(0, len(different), 256)])
    place = {prompt: row for row, prompt in enumerate(different)}
    projection = fitted_projection(states[[place[prompt] for prompt in prompts]], images)
    save_tensors(path, projection.state_dict())
    c.say("instantstyle: text projection fitted")
