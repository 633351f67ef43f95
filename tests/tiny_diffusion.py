"""Random Stable Diffusion models made on the spot: every kind of layer the adapter meets, milliseconds a step."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from prefgen.adapter import UserAdapter, UserTokens
from prefgen.diffusion import flow_pipeline

D_CROSS = 32
D_USER = 24
N_TOKENS = 4


def tiny_tokenizer() -> CLIPTokenizer:
    """A byte-level CLIP tokenizer without merges."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=77)


def tiny_text_encoder(kind: type = CLIPTextModel):
    """A two-layer CLIP text encoder of width 32."""
    torch.manual_seed(1)
    return kind(
        CLIPTextConfig(
            vocab_size=514,
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=32,
            bos_token_id=512,
            eos_token_id=513,
            pad_token_id=513,
        )
    ).eval()


def tiny_vae() -> AutoencoderKL:
    """A two-level autoencoder: 2 pixels a latent."""
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    ).eval()


def tiny_unet(**changes) -> UNet2DConditionModel:
    """A UNet with cross-attention of two widths, 8x8 latents."""
    torch.manual_seed(3)
    config = {
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "cross_attention_dim": D_CROSS,
        "norm_num_groups": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 4,
    }
    return UNet2DConditionModel(**config | changes).eval()


def tiny_sdxl_unet() -> UNet2DConditionModel:
    """The SDXL kind: linear projections, several transformer layers a block, heads per block, extra conditions."""
    return tiny_unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
    )


def tiny_sd3_transformer(**changes) -> SD3Transformer2DModel:
    """Stable Diffusion 3.5's kind: joint attention with query and key norms; the first block attends twice, the last
    one drops the text."""
    torch.manual_seed(3)
    config = {
        "sample_size": 8,
        "patch_size": 1,
        "in_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": D_CROSS,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 32,
        "out_channels": 4,
        "qk_norm": "rms_norm",
        "dual_attention_layers": (0,),
    }
    return SD3Transformer2DModel(**config | changes).eval()


def tiny_flux_transformer(*, guidance_embeds: bool = False) -> FluxTransformer2DModel:
    """FLUX's kind: double blocks, which hear a person, a single block, which does not, rotary positions."""
    torch.manual_seed(3)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=2,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=D_CROSS,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    ).eval()


def tiny_pipeline(unet: UNet2DConditionModel | None = None):
    """A silent flow pipeline."""
    pipe = flow_pipeline(
        vae=tiny_vae(), text_encoder=tiny_text_encoder(), tokenizer=tiny_tokenizer(), unet=unet or tiny_unet()
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_sdxl_pipeline() -> StableDiffusionXLPipeline:
    """A silent SDXL pipeline."""
    pipe = StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_text_encoder(),
        text_encoder_2=tiny_text_encoder(CLIPTextModelWithProjection),
        tokenizer=tiny_tokenizer(),
        tokenizer_2=tiny_tokenizer(),
        unet=tiny_sdxl_unet(),
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def trained_adapter(network: nn.Module, **arguments) -> UserAdapter:
    """An adapter whose weights are away from their start, as if trained, so that users make a difference."""
    adapter = UserAdapter.for_network(network, **arguments)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return adapter


def random_tokens(n: int, seed: int = 0, d_cross: int = D_CROSS) -> UserTokens:
    """Likes and dislikes for `n` pictures, each row of its own."""
    generator = torch.Generator().manual_seed(seed)
    like, dislike = (torch.randn(n, N_TOKENS, d_cross, generator=generator) for _ in range(2))
    return UserTokens(like=like, dislike=dislike)


def generators(n: int, first: int = 0) -> list[torch.Generator]:
    """One generator a picture."""
    return [torch.Generator().manual_seed(first + index) for index in range(n)]


class FaceIdProjector(nn.Module):
    """The stock FaceID projection (`proj.0`, GELU, `proj.2`, `norm`): one vector to N tokens; zero to zero if asked."""

    def __init__(self, seed: int, *, bias: bool) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.proj = nn.Sequential(nn.Linear(D_USER, 2 * D_USER), nn.GELU(), nn.Linear(2 * D_USER, N_TOKENS * D_CROSS))
        self.norm = nn.LayerNorm(D_CROSS)
        if bias:
            nn.init.normal_(self.norm.bias)
        else:
            nn.init.zeros_(self.proj[0].bias)
            nn.init.zeros_(self.proj[2].bias)

    def forward(self, user: torch.Tensor) -> torch.Tensor:
        """`[batch, D_USER]` to `[batch, N_TOKENS, D_CROSS]`."""
        return self.norm(self.proj(user).unflatten(-1, (N_TOKENS, D_CROSS)))
