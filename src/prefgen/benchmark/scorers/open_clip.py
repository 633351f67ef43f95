"""Weights in open_clip's layout as a transformers `CLIPModel`'s: names, and one matrix for query, key and value."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_INSIDE = (
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)
_OUTSIDE = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    **{
        f"{theirs}.{part}": f"{ours}.{part}"
        for theirs, ours in (
            ("ln_final", "text_model.final_layer_norm"),
            ("visual.ln_pre", "vision_model.pre_layrnorm"),
            ("visual.ln_post", "vision_model.post_layernorm"),
        )
        for part in ("weight", "bias")
    },
}
_TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
TOWERS = (("transformer", "text_model"), ("visual.transformer", "vision_model"))


def from_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's state dict under transformers' names. Raises `KeyError` for one that lacks a part."""
    renamed = {ours: state[theirs] for theirs, ours in _OUTSIDE.items()}
    renamed |= {ours: state[theirs].T.contiguous() for theirs, ours in _TRANSPOSED.items()}
    for tower, ours in TOWERS:
        prefix = f"{tower}.resblocks."
        for layer in {key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)}:
            source, target = f"{prefix}{layer}", f"{ours}.encoder.layers.{layer}"
            for part in ("weight", "bias"):
                for name, value in zip("qkv", state[f"{source}.attn.in_proj_{part}"].chunk(3)):
                    renamed[f"{target}.self_attn.{name}_proj.{part}"] = value.contiguous()
                for theirs, here in _INSIDE:
                    renamed[f"{target}.{here}.{part}"] = state[f"{source}.{theirs}.{part}"]
    return renamed
