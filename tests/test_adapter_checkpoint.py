"""Adapters on disk, and on their way to stock diffusers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from prefgen.adapter import UserAdapter, UserTokens, cross_attentions, load_adapter, save_adapter, to_ip_adapter_state
from prefgen.core import ModelError
from prefgen.diffusion import sample
from tiny_diffusion import (
    D_CROSS,
    D_USER,
    FaceIdProjector,
    generators,
    random_tokens,
    tiny_pipeline,
    tiny_sdxl_unet,
    tiny_unet,
    trained_adapter,
)


def test_saved_adapter_comes_back_bit_for_bit(tmp_path: Path) -> None:
    unet = tiny_unet()
    adapter = trained_adapter(unet)
    save_adapter(adapter, tmp_path)
    loaded = load_adapter(tmp_path, unet)
    assert loaded.groups == adapter.groups
    for name, value in adapter.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_half_precision_file_loads_as_float32(tmp_path: Path) -> None:
    unet = tiny_unet()
    save_adapter(trained_adapter(unet, groups=("dislike",)), tmp_path, torch.float16)
    assert load_file(tmp_path / "dislike.safetensors")["ip_adapter.1.to_k_ip.weight"].dtype == torch.float16
    loaded = load_adapter(tmp_path, unet)
    assert loaded.groups == ("dislike",)
    assert next(loaded.parameters()).dtype == torch.float32


def test_keys_are_the_stock_ones() -> None:
    unet = tiny_sdxl_unet()
    state = to_ip_adapter_state(UserAdapter.for_network(unet), "like")
    n_layers = len(cross_attentions(unet))
    assert set(state) == {f"ip_adapter.{2 * i + 1}.to_{x}_ip.weight" for i in range(n_layers) for x in ("k", "v")}
    for layer, attention in enumerate(cross_attentions(unet).values()):
        assert torch.equal(state[f"ip_adapter.{2 * layer + 1}.to_k_ip.weight"], attention.to_k.weight)


def test_damaged_files_are_told(tmp_path: Path) -> None:
    unet = tiny_unet()
    with pytest.raises(ModelError, match="config"):
        load_adapter(tmp_path, unet)
    save_adapter(UserAdapter.for_network(unet), tmp_path)
    with pytest.raises(ModelError, match="weights"):
        load_adapter(tmp_path, tiny_sdxl_unet())
    state = load_file(tmp_path / "like.safetensors")
    save_file(state | {"ip_adapter.1.to_k_ip.weight": torch.zeros(1)}, tmp_path / "like.safetensors")
    with pytest.raises(ModelError, match="of shape"):
        load_adapter(tmp_path, unet)
    (tmp_path / "dislike.safetensors").write_bytes(b"no weights")
    save_file(state, tmp_path / "like.safetensors")
    with pytest.raises(ModelError, match=r"dislike weights in .*dislike\.safetensors"):
        load_adapter(tmp_path, unet)
    config = json.loads((tmp_path / "user_adapter.json").read_text())
    (tmp_path / "user_adapter.json").write_text(json.dumps(config | {"version": 99}))
    with pytest.raises(ModelError, match=r"version 1 in .* got 99"):
        load_adapter(tmp_path, unet)


@pytest.mark.parametrize(("guidance_scale", "bias"), [(1.0, True), (4.0, True), (4.0, False)])
def test_stock_pipeline_with_two_ip_adapters_paints_the_same_picture(
    tmp_path: Path, guidance_scale: float, bias: bool
) -> None:
    """Likes and dislikes as two stock IP-Adapters, zero vectors for the unconditional half as stock has it.

    With biases a zero vector is somebody, so our unconditional half must hear that somebody too; a projector that maps
    zero to zero makes stock's convention and ours (nobody) the same.
    """
    projectors = {"like": FaceIdProjector(0, bias=bias), "dislike": FaceIdProjector(1, bias=bias)}
    user = {name: torch.randn(1, D_USER) for name in projectors}
    pipe = tiny_pipeline()
    adapter = trained_adapter(pipe.unet)
    arguments = {"guidance_scale": guidance_scale, "num_inference_steps": 3, "output_type": "np"}

    with torch.no_grad():
        tokens = UserTokens(**{name: projector(user[name]) for name, projector in projectors.items()})
        zero = UserTokens(**{name: projector(torch.zeros(1, D_USER)) for name, projector in projectors.items()})
    ours = sample(
        pipe,
        adapter,
        ["a fox"],
        tokens,
        generators=generators(1),
        like_strength=0.8,
        dislike_strength=0.3,
        unconditional=zero if bias else None,
        dislikes="beside",
        **arguments,
    )

    for name, projector in projectors.items():
        save_file(to_ip_adapter_state(adapter, name, projector.state_dict()), tmp_path / f"{name}.safetensors")
    stock = tiny_pipeline()
    names = [f"{name}.safetensors" for name in projectors]
    stock.load_ip_adapter([str(tmp_path)] * 2, subfolder=["", ""], weight_name=names, image_encoder_folder=None)
    stock.set_ip_adapter_scale([0.8, 0.3])
    embeds = [vector[:, None] for vector in user.values()]
    if guidance_scale > 1:
        embeds = [torch.cat([torch.zeros_like(vector), vector]) for vector in embeds]
    theirs = stock("a fox", generator=generators(1), ip_adapter_image_embeds=embeds, **arguments).images
    plain = tiny_pipeline()("a fox", generator=generators(1), **arguments).images
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert np.abs(ours - plain).max() > 1e-3


def test_stock_pipeline_saves_and_loads_while_an_adapter_is_injected(tmp_path: Path) -> None:
    """The model never knows its adapter: its folder is the plain one."""
    pipe = tiny_pipeline()
    adapter = trained_adapter(pipe.unet)
    with adapter.injected(pipe.unet):
        pipe.save_pretrained(tmp_path)
    again = type(pipe).from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert again.scheduler.config.use_flow_sigmas
    assert again.scheduler.config.prediction_type == "flow_prediction"
    one, two = (
        sample(p, None, ["a fox"], None, generators=generators(1), num_inference_steps=2, output_type="np")
        for p in (pipe, again)
    )
    assert np.array_equal(one, two)
    with pytest.raises(ModelError):
        adapter.inject(tiny_sdxl_unet())
    assert random_tokens(1).like.shape[-1] == adapter.d_cross


def test_a_group_can_start_from_another() -> None:
    unet = tiny_unet()
    adapter = trained_adapter(unet)
    tokens = torch.randn(2, 4, D_CROSS, generator=torch.Generator().manual_seed(0))

    def painted(**groups: torch.Tensor) -> torch.Tensor:
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        text = torch.randn(2, 5, D_CROSS, generator=torch.Generator().manual_seed(2))
        with torch.no_grad(), adapter.injected(unet), adapter.users(UserTokens(**groups)):
            return unet(x, torch.tensor(300.0), text).sample

    likes = painted(like=tokens)
    assert not torch.allclose(painted(dislike=tokens), likes)
    adapter.copy_group("like", "dislike")
    torch.testing.assert_close(painted(dislike=tokens), likes)
    with torch.no_grad():
        next(p for n, p in adapter.named_parameters() if ".dislike." in n).add_(1.0)
    torch.testing.assert_close(painted(like=tokens), likes)
    with pytest.raises(ModelError, match="expected a group of"):
        adapter.copy_group("like", "hate")  # type: ignore[arg-type]
