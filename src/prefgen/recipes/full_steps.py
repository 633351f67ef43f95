"""The training steps of full presets on the meta device: the adapter's on a generator, LoRA's on a language model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from prefgen.adapter import GROUPS, Group, UserAdapter
from prefgen.adapter.attention import GroupState, UserState
from prefgen.alignment import Projector
from prefgen.diffusion import Conditions, predictor
from prefgen.embedding import UserEncoder, UserEncoderConfig
from prefgen.mllm.capture import language_model
from prefgen.mllm.lora import with_lora
from prefgen.recipes.backbone_adapter import PersonalBackbone
from prefgen.recipes.counting import StepCount, counted
from prefgen.recipes.full_presets import FullPreset, published
from prefgen.recipes.meta_models import META, meta_mllm, meta_network

N_LAYERS = 4
"""Layers of each part of the embedding that come from the language model."""
VAE_FACTOR = 8
"""Pixels a latent, each way, in every published autoencoder here."""


def d_user_of(preset: FullPreset) -> int:
    """Width of the user embedding `[ê_sem; e_core; e_img]`: three times the pooled text's, as in the embedded model."""
    return 3 * d_text_of(preset)


def d_text_of(preset: FullPreset) -> int:
    """Width of the pooled embedding of the generator's largest CLIP text encoder, to which `ê_sem` is aligned."""
    return d_text_in(published(preset.backbone))


def d_text_in(record: Mapping[str, Any]) -> int:
    """`d_text_of` a generator's record."""
    encoders = record["text_encoders"]
    return max(part["config"]["projection_dim"] for part in encoders if "projection_dim" in part["config"])


def meta_user_encoder(preset: FullPreset, d_cross: int) -> UserEncoder:
    """The user encoder that learns beside the adapter, on the meta device."""
    layers = tuple(range(N_LAYERS))
    config = UserEncoderConfig(
        d_lm=d_lm_of(preset.mllm),
        d_clip=preset.d_clip,
        d_text=d_text_of(preset),
        d_cross=d_cross,
        n_tokens=preset.user_tokens,
        sem_layers=layers,
        core_layers=layers,
        one_reading=True,
    )
    with META:
        return UserEncoder(config)


def d_lm_of(mllm: str) -> int:
    """Width of a published language model's hidden states."""
    return published(mllm)["config"]["text_config"]["hidden_size"]


def meta_personal(preset: FullPreset, network: Any | None = None) -> PersonalBackbone:
    """What the adapter's stage trains, on the meta device."""
    frozen: Any = meta_network(preset.backbone) if network is None else network
    with META:
        adapter = UserAdapter.for_network(frozen, init="copy")
        projector = Projector(d_user_of(preset), adapter.d_cross, preset.user_tokens)
    return PersonalBackbone(frozen, adapter, projector)


def latent_shape(backbone: str) -> tuple[int, int, int]:
    """`[channels, height, width]` of a picture's latents at the published size."""
    return latent_shape_in(published(backbone))


def latent_shape_in(record: Mapping[str, Any]) -> tuple[int, int, int]:
    """`latent_shape` of a generator's record."""
    side = record["side_px"] // VAE_FACTOR
    return record["vae"]["config"]["latent_channels"], side, side


def text_shapes(backbone: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a prompt's embeddings by name, one row: what `Conditions` holds."""
    return text_shapes_in(published(backbone))


def text_shapes_in(record: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """`text_shapes` of a generator's record."""
    config, n_words = record["network"]["config"], record["n_words"]
    if "joint_attention_dim" in config:
        return {"text": (n_words, config["joint_attention_dim"]), "pooled": (config["pooled_projection_dim"],)}
    text: dict[str, tuple[int, ...]] = {"text": (n_words, config["cross_attention_dim"])}
    if config.get("addition_embed_type") != "text_time":
        return text
    d_pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    return text | {"pooled": (d_pooled,), "time_ids": (6,)}


@lru_cache
def adapter_step(
    backbone: str, user_tokens: int, d_user: int, *, checkpointing: bool, batch: int = 1, heard: bool = True
) -> StepCount:
    """One step of the adapter's training with a frozen network in bfloat16; without `heard` the network's forward pass
    alone, nobody heard, one row."""
    network = meta_network(backbone).to(torch.bfloat16)
    model = PersonalBackbone.for_network(network, d_user=d_user, n_tokens=user_tokens) if heard else None
    latents = torch.empty(batch, *latent_shape(backbone), device=META, dtype=torch.bfloat16)
    shapes = text_shapes(backbone)
    told = {k: torch.empty(batch, *shape, device=META, dtype=torch.bfloat16) for k, shape in shapes.items()}
    times = torch.empty(batch, device=META)
    if model is None:
        with torch.no_grad():
            return counted(lambda: predictor(network, Conditions.of(told))(latents, times))
    if checkpointing:
        network.enable_gradient_checkpointing()

    def run() -> Tensor:
        users = torch.empty(batch, d_user, device=META)
        model.adapter.hear(_everybody(model, users))
        said = predictor(network, Conditions.of(told))(latents, times)
        return (said.float() - latents.float()).square().mean()

    with model.adapter.injected(network), model.adapter.users(None):
        return counted(run)


def _everybody(model: PersonalBackbone, users: Tensor) -> UserState:
    """Both groups heard in every row; on the meta device nobody can be asked who is."""
    n = len(users)
    heard = torch.ones(n, dtype=torch.bool, device=users.device)
    groups: dict[Group, GroupState] = {
        name: GroupState(
            tokens=model.projector(users), strength=torch.ones(n, device=users.device), heard=heard, span=slice(0, n)
        )
        for name in GROUPS
    }
    return UserState(groups=groups, n_rows=n, n_plain_rows=0, nobody_heard=False)


def meta_lora(name: str, rank: int) -> Any:
    """A published language model with LoRA as the preference stage trains it: all else frozen."""
    return with_lora(meta_mllm(name), rank=rank)


@lru_cache
def lora_step(
    name: str, rank: int, n_pictures: int, text_tokens: int, *, checkpointing: bool, batch: int = 1
) -> StepCount:
    """One step of preference fine-tuning, the frozen parts in bfloat16: pictures through the vision tower, without a
    way back, then the language model there and back. Idefics2's resampler and what Qwen3-VL adds after its first
    layers are left out (a small part)."""
    tuned = meta_lora(name, rank)
    for parameter in tuned.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
    whole = tuned.get_base_model()
    language = language_model(whole)
    if checkpointing:
        language.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        language.train()
    d_lm = d_lm_of(name)
    length = n_pictures * published(name)["tokens_per_picture"] + text_tokens

    def run() -> Tensor:
        with torch.no_grad():
            see(whole, name, batch * n_pictures)
        words = torch.empty(batch, length, d_lm, device=META, dtype=torch.bfloat16, requires_grad=checkpointing)
        states = read_words(language, words)
        return whole.lm_head(states).float().mean()

    return counted(run)


def read_words(language: Any, words: Tensor) -> Tensor:
    """Hidden states of a language model; the mask is given whole, since on the meta device none can be worked out."""
    mask = torch.ones(1, 1, words.shape[1], words.shape[1], dtype=torch.bool, device=words.device)
    return language(inputs_embeds=words, attention_mask=mask, use_cache=False).last_hidden_state


def see(whole: Any, name: str, n_pictures: int) -> None:
    """Pictures through vision tower and modality projection, one by one, as they are cached."""
    side_px = published(name)["side_px"]
    for _ in range(n_pictures):
        if hasattr(whole.model, "visual"):
            _see_in_windows(whole.model.visual, side_px)
        elif hasattr(whole.model, "vision_tower"):
            pixels = torch.empty(1, 3, side_px, side_px, device=META, dtype=torch.bfloat16)
            whole.model.multi_modal_projector(whole.model.vision_tower(pixels).last_hidden_state)
        else:
            _see_in_tiles(whole, side_px, published(name)["tokens_per_picture"])


def _see_in_tiles(whole: Any, side_px: int, n_tokens: int) -> None:
    """Idefics2, Idefics3 and SmolVLM; the resampler's own layers are left out."""
    config = whole.config.vision_config
    n_patches = (side_px // config.patch_size) ** 2
    project = whole.model.connector.modality_projection
    first = next(m for m in project.modules() if isinstance(m, nn.Linear))
    n_projected = n_patches if first.in_features == config.hidden_size else n_tokens
    patches = torch.empty(1, n_patches, config.hidden_size, device=META, dtype=torch.bfloat16)
    whole.model.vision_model.encoder(inputs_embeds=patches, attention_mask=None)
    project(torch.empty(1, n_projected, first.in_features, device=META, dtype=torch.bfloat16))


def _see_in_windows(visual: Any, side_px: int) -> None:
    """Qwen: block by block, since places cannot be worked out on the meta device; most of Qwen2.5's see windows."""
    config = visual.config
    across = side_px // config.patch_size
    patches = torch.empty(across**2, config.hidden_size, device=META, dtype=torch.bfloat16)
    places = torch.empty(across**2, config.hidden_size // config.num_heads, device=META)
    size = getattr(config, "window_size", side_px) // config.patch_size
    widths = [min(size, across - at) for at in range(0, across, size)]
    windows = [height * width for height in widths for width in widths]
    for number, block in enumerate(visual.blocks):
        is_whole = number in getattr(config, "fullatt_block_indexes", [number])
        lengths = torch.tensor([0, *([across**2] if is_whole else windows)])
        ends = lengths.cumsum(0, dtype=torch.int32)
        patches = block(patches, cu_seqlens=ends, max_seqlen=int(lengths.max()), position_embeddings=(places, places))
    for merger in (visual.merger, *getattr(visual, "deepstack_merger_list", ())):
        merger(patches)
