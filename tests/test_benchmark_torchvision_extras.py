"""FID and LPIPS: their arithmetic, and what is said where the packages behind them are not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from prefgen.benchmark.scorers import InceptionFid, Lpips, frechet_distance
from prefgen.core import InputError, ModelError, PrefGenError


def test_the_distance_of_known_clouds() -> None:
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(4000, 5))
    cloud -= cloud.mean(0)
    assert frechet_distance(cloud, cloud) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(cloud, cloud + 3) == pytest.approx(45, rel=1e-9)
    # N(0, s²·1) against N(0, 1) in d dimensions: d·(s - 1)²
    assert frechet_distance(2 * cloud, cloud) == pytest.approx(np.trace(np.cov(cloud, rowvar=False)), rel=1e-9)
    turned = cloud @ np.linalg.qr(rng.normal(size=(5, 5)))[0]
    other = rng.normal(size=(3000, 5)) * [1, 2, 3, 4, 5]
    assert frechet_distance(cloud, other) == pytest.approx(frechet_distance(other, cloud))
    assert frechet_distance(turned, cloud) < 0.05 < frechet_distance(other, cloud)


def test_few_pictures_are_refused() -> None:
    fid = InceptionFid(None)
    with pytest.raises(InputError, match="2048"):
        fid.fid(np.zeros((2047, 3)), np.zeros((4000, 3)))


@pytest.mark.parametrize("make", [lambda: InceptionFid.from_pretrained("x"), Lpips.from_pretrained])
def test_a_missing_extra_is_named(make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch_fidelity", "lpips"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PrefGenError) as caught:
        make()
    assert "prefgen[eval-tv]" in str(caught.value.hint)


class Extractor(torch.nn.Module):
    """Made as torch-fidelity's is: without a path it asks its module for the weights."""

    def __init__(self, name: str, features_list: list[str]) -> None:
        super().__init__()
        assert features_list == ["2048"]
        self.fc = torch.nn.Linear(3, 4, bias=False)
        self.load_state_dict(sys.modules["torch_fidelity"].feature_extractor_inceptionv3.load_state_dict_from_url("u"))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        assert x.dtype == torch.uint8
        return (self.fc(x.float().mean((2, 3))),)


def test_weights_come_from_safetensors_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.feature_extractor_inceptionv3")

    def fetch(*_: object) -> None:
        raise AssertionError("the network was asked for")

    module.FeatureExtractorInceptionV3, module.load_state_dict_from_url = Extractor, fetch  # type: ignore[attr-defined]
    package.feature_extractor_inceptionv3 = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (tmp_path / "pickled.pth").write_bytes(b"x")
    with pytest.raises(ModelError, match="safetensors"):
        InceptionFid.from_pretrained(tmp_path / "pickled.pth")
    save_file({"fc.weight": torch.eye(4, 3)}, tmp_path / "inception.safetensors")
    fid = InceptionFid.from_pretrained(tmp_path / "inception.safetensors")
    assert module.load_state_dict_from_url is fetch  # type: ignore[attr-defined]
    pictures = [Image.new("RGB", (8, 8), (10 * k, 20, 30)) for k in range(5)]
    np.testing.assert_allclose(fid.features(pictures, batch=2)[:, 0], [0, 10, 20, 30, 40])


def test_lpips_pairs_pictures() -> None:
    class Network:
        def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            assert float(a.min()) >= -1
            return (a - b).abs().mean((1, 2, 3), keepdim=True)

    lpips = Lpips(Network())
    black, white = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")
    np.testing.assert_allclose(lpips.distances([black, black], [black, white]), [0, 2], atol=1e-6)
    assert lpips.diversity([black, white, white]) == pytest.approx(4 / 3)
    assert np.isnan(lpips.diversity([black]))
    with pytest.raises(InputError):
        lpips.distances([black], [Image.new("RGB", (5, 4))])
