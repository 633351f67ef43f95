"""Folders of rivals' weights that fit the fake chain, random and made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from fake_judge import FakeChain
from prefgen.adapter import UserAdapter, save_adapter
from prefgen.alignment import Projector
from prefgen.embedding import UserEncoder, UserEncoderConfig
from prefgen.mllm import ReferenceReader
from tiny_diffusion import D_CROSS, N_TOKENS
from tiny_mllm import tiny_mllm

D_CLIP = 3
"""Width of the fake image encoder's embeddings: mean colours."""


def save_baseline(folder: Path, chain: FakeChain, pool: str = "mean") -> None:
    """An image prompt's folder."""
    adapter = UserAdapter.for_network(chain.pipe.unet, ("like",), init="copy")
    save_adapter(adapter, folder)
    config = {"d_clip": D_CLIP, "d_cross": D_CROSS, "n_tokens": N_TOKENS, "pool": pool}
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    save_file(Projector(D_CLIP, D_CROSS, N_TOKENS).state_dict(), folder / "projector.safetensors")


def save_projection(folder: Path) -> None:
    """The text projection of `instantstyle`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(2)
    save_file(nn.Linear(D_CROSS, D_CLIP).state_dict(), folder / "text_projection.safetensors")


def save_image_embedding(folder: Path, chain: FakeChain) -> None:
    """User encoder and adapter of `e_img_only`."""
    save_adapter(UserAdapter.for_network(chain.pipe.unet, init="copy"), folder / "adapter")
    torch.manual_seed(1)
    UserEncoder(
        UserEncoderConfig(
            d_lm=1,
            d_clip=D_CLIP,
            d_text=D_CROSS,
            d_cross=D_CROSS,
            n_tokens=N_TOKENS,
            sem_layers=(0,),
            core_layers=(0,),
            vote_width=8,
        )
    ).save(folder / "user_encoder")


def save_references(folder: Path, chain: FakeChain) -> None:
    """Reference tokens and adapter of `easyref`, for the tiny language model."""
    save_adapter(UserAdapter.for_network(chain.pipe.unet, ("like",), init="copy"), folder)
    torch.manual_seed(3)
    ReferenceReader(tiny_mllm(), N_TOKENS, D_CROSS).save(folder)


def save_baselines(folder: Path, chain: FakeChain) -> None:
    """Everything that a rival needs to run, the tiny language model in the chain included."""
    chain.mllm = tiny_mllm()
    save_references(folder / "easyref", chain)
    for name in ("ip_adapter", "ip_adapter_user"):
        save_baseline(folder / name, chain)
    save_projection(folder / "instantstyle")
    save_image_embedding(folder / "e_img_only", chain)
