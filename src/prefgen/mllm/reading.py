"""A packed batch through any family's language model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from prefgen.mllm.families import family_of, image_token_of, sliding_window
from prefgen.mllm.packing import PackedBatch


def run_packed(model: Any, batch: PackedBatch, features: Tensor) -> Tensor:
    """Last hidden states [b, s, d] of a packed batch.

    `features` [n_pictures, n_tokens, d], or flat [n_pictures · n_tokens, d], as its pictures stand.
    """
    flat = features.flatten(0, -2)
    return model.model(
        input_ids=batch.input_ids,
        attention_mask=_attention(model, batch),
        position_ids=batch.position_ids,
        mm_encoder_outputs={"image": _images(model, batch, flat)} if len(flat) else None,
        use_cache=False,
    ).last_hidden_state


def _images(model: Any, batch: PackedBatch, flat: Tensor) -> Any:
    """What each family expects its eye to have returned."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    if family_of(model.config).joined:
        return BaseModelOutputWithPooling(last_hidden_state=flat, pooler_output=flat)  # type: ignore[arg-type]
    deeper = [(level.to(flat.dtype),) for level in batch.deeper]
    return SimpleNamespace(last_hidden_state=flat, pooler_output=(flat,), deepstack_features=deeper)


def _attention(model: Any, batch: PackedBatch) -> Tensor:
    """The mask in the form the model's attention takes.

    A mask of four dimensions is used as it is: a sliding window must be in it already, and "eager" attention adds it to
    the scores, where a bool would count as 0 and 1.
    """
    if batch.attention.ndim == 2:
        return batch.attention
    mask, window = batch.attention, sliding_window(model.config)
    if window:
        places = batch.position_ids
        mask = mask & (places[:, :, None] - places[:, None, :] < window)[:, None]
    if getattr(model.config.get_text_config(), "_attn_implementation", None) == "eager":
        nothing = torch.zeros((), dtype=model.dtype, device=mask.device)
        return torch.where(mask, nothing, torch.finfo(model.dtype).min)
    return mask


def grid_positions(model: Any, batch: PackedBatch, grids: list[tuple[int, int, int]]) -> Tensor:
    """Positions [3, b, s] over time, height and width, a history and each of its questions as if read on its own.

    `grids` are the pictures' patches (time, height, width) in order.
    """
    n_rows, length = batch.input_ids.shape
    out = torch.zeros(3, n_rows, length, dtype=torch.long)
    ids, segments, left = batch.input_ids.cpu(), batch.segments.cpu(), list(grids)
    for row in range(n_rows):
        start = 0
        for segment in range(int(segments[row].max()) + 1):
            places = (segments[row] == segment).nonzero()[:, 0]
            found = _piece(model, ids[row, places], left) + start
            out[:, row, places] = found
            if segment == 0:
                start = int(found.max()) + 1 if found.numel() else 0
    return out


def _piece(model: Any, ids: Tensor, left: list[tuple[int, int, int]]) -> Tensor:
    """Positions [3, n] of a piece of text; the grids of its pictures are taken from `left`."""
    is_image = ids == image_token_of(model.config)
    n_patches = int(is_image.sum()) * model.config.vision_config.spatial_merge_size**2
    own: list[tuple[int, int, int]] = []
    while sum(t * h * w for t, h, w in own) < n_patches:
        own.append(left.pop(0))
    if not own:
        return torch.arange(len(ids)).expand(3, -1)
    positions, _ = model.model.get_rope_index(
        ids[None], mm_token_type_ids=is_image[None].int(), image_grid_thw=torch.tensor(own)
    )
    return positions[:, 0]


@torch.no_grad()
def answer_log_likelihoods(model: Any, batch: PackedBatch, features: Tensor) -> list[float]:
    """log P(answer) of every branch, row by row. All branches must carry an answer."""
    hidden = run_packed(model, batch, features)
    learned = (batch.targets >= 0).nonzero()
    logits = model.lm_head(hidden[learned[:, 0], learned[:, 1]]).float()
    chosen = logits.log_softmax(-1).gather(1, batch.targets[learned[:, 0], learned[:, 1]][:, None])[:, 0]
    order = sorted(batch.ends, key=lambda key: (key[0], batch.ends[key]))
    starts = torch.tensor([r * batch.targets.shape[1] + batch.ends[r, k] for r, k in order])
    places = learned[:, 0] * batch.targets.shape[1] + learned[:, 1]
    owner = torch.searchsorted(starts, places, right=True) - 1
    return torch.zeros(len(order)).index_add(0, owner, chosen).tolist()
