"""The projector's shapes, and that it leaves as a stock IP-Adapter file."""

import pytest
import torch

from prefgen.alignment import Projector
from prefgen.core import ConfigError


def test_tokens_are_normalised_and_gradients_reach_every_weight() -> None:
    projector = Projector(d_in=8, d_out=12, n_tokens=3, hidden=16)
    tokens = projector(torch.randn(5, 8))
    assert tokens.shape == (5, 3, 12)
    assert torch.allclose(tokens.mean(-1), torch.zeros(5, 3), atol=1e-5)
    assert torch.allclose(tokens.var(-1, unbiased=False), torch.ones(5, 3), atol=1e-2)
    tokens.square().mul(torch.randn(5, 3, 12)).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in projector.parameters())


def test_a_row_does_not_depend_on_its_batch_mates() -> None:
    projector = Projector(d_in=8, d_out=12, n_tokens=3)
    users = torch.randn(5, 8)
    assert torch.allclose(projector(users)[2], projector(users[2:3])[0], atol=1e-6)


def test_the_stock_loader_takes_its_weights_and_gives_the_same_tokens() -> None:
    loaders = pytest.importorskip("diffusers.loaders.unet")
    projector = Projector(d_in=8, d_out=12, n_tokens=3, hidden=24).eval()
    weights = projector.state_dict()
    names = ["proj.0.weight", "proj.0.bias", "proj.2.weight", "proj.2.bias", "norm.weight", "norm.bias"]
    assert list(weights) == names
    convert = loaders.UNet2DConditionLoadersMixin._convert_ip_adapter_image_proj_to_diffusers
    stock = convert(object(), dict(weights), low_cpu_mem_usage=False)
    assert type(stock).__name__ == "IPAdapterFaceIDImageProjection"
    users = torch.randn(5, 8)
    assert torch.equal(stock(users), projector(users))


def test_refuses_a_hidden_width_the_stock_file_cannot_say() -> None:
    with pytest.raises(ConfigError, match="use hidden=16"):
        Projector(d_in=8, d_out=12, n_tokens=3, hidden=17)
    with pytest.raises(ConfigError, match="above 0"):
        Projector(d_in=8, d_out=12, n_tokens=0)
