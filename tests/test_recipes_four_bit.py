"""Four bits: which layers, how near to full precision, whose gradients, and a whole run, broken off and resumed."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prefgen.adapter import UserAdapter, network_of
from prefgen.adapter.sites import matrix_of
from prefgen.core import ModelError
from prefgen.diffusion import predictor
from prefgen.recipes import four_bit, full_plan, full_run
from prefgen.recipes.backbone_adapter import PersonalBackbone, adapter_loss
from prefgen.recipes.counting import StepCount
from prefgen.recipes.four_bit import BYTES_A_WEIGHT, four_bit_layers, quantise
from prefgen.recipes.full_presets import BACKBONES, FULL_PRESETS, FullPreset
from prefgen.recipes.full_run import train_full
from prefgen.recipes.meta_models import meta_mllm, meta_network, n_parameters
from prefgen.recipes.prepared_rows import RowFolder, Rows, save_rows
from test_recipes_backbones import D_USER, two_people
from tiny_backbones import PIPELINES, silent_pipeline

FAMILY = pytest.mark.parametrize("family", PIPELINES)
needs_bitsandbytes = pytest.mark.skipif(
    not find_spec("bitsandbytes"), reason="bitsandbytes is not installed: pip install 'prefgen[quant]'"
)
CPU = "cpu"
FARTHEST = {"sd15": 0.2, "sdxl": 0.3, "sd3": 0.05, "flux": 0.05}
"""Length of the difference that four bits make to what a tiny network says, in lengths of what it says: a UNet a dozen
channels wide averages little out. Twice what was seen, or less."""


@pytest.fixture
def without_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which it is not installed."""
    monkeypatch.setattr(four_bit, "find_spec", lambda _: None)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that cost nothing to count; parameters are counted as ever."""
    for step in ("adapter_step", "lora_step"):
        monkeypatch.setattr(full_plan, step, lambda *_, **__: StepCount(flops=1, held=1))


def in_four_bits(network: nn.Module) -> dict[str, nn.Module]:
    """The layers of bitsandbytes, by name."""
    return {name: m for name, m in network.named_modules() if type(m).__name__ == "Linear4bit"}


def rounded(network: nn.Module, quantised: nn.Module) -> nn.Module:
    """A copy of a network in full precision with the rounded weights of a quantised one."""
    made = copy.deepcopy(network)
    for name, layer in in_four_bits(quantised).items():
        assert isinstance(layer, nn.Linear)
        made.get_submodule(name).weight.data = matrix_of(layer)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def said_by(network: nn.Module, rows: Rows) -> Tensor:
    with torch.no_grad():
        return predictor(network, rows.conditions)(rows.latents, torch.full((len(rows),), 500.0))


def gradients(model: PersonalBackbone, network: nn.Module, pipe: Any, rows: Rows) -> dict[str, Tensor]:
    """Of one step of the adapter in `network`; the network's own parameters must get none."""
    model.zero_grad(set_to_none=True)
    model.network[0] = network
    with model.adapter.injected(network), model.adapter.users(None):
        adapter_loss(model, pipe.scheduler, rows, torch.Generator().manual_seed(3))["loss"].backward()
    assert all(parameter.grad is None for parameter in network.parameters())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_plan_counts_the_layers_that_are_quantised(backbone: str, cheap: None) -> None:
    """Nearly all linear layers, and of the published networks so much in all; ways in and out stay."""
    network = meta_network(backbone)
    layers = four_bit_layers(network)
    for way in ("time_embedding", "add_embedding", "time_text_embed", "x_embedder", "context_embedder", "norm_out"):
        assert not any(name.startswith(way) for name in layers), way
    assert "proj_out" not in layers
    n_weights = sum(layer.weight.numel() for layer in layers.values())
    linears = sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Linear))
    assert 0.99 * linears < n_weights < linears
    share = {"sd15": 0.31, "sdxl": 0.87, "sd3": 0.99, "flux": 0.99}[backbone]
    assert n_weights / n_parameters(network) == pytest.approx(share, abs=0.005)
    preset = FULL_PRESETS[f"{backbone}-smolvlm"].with_overrides(load_4bit=True)
    memory = full_plan.plan_of(preset).stages[1].memory
    assert memory["frozen weights, 4 bit"] == n_weights * BYTES_A_WEIGHT
    assert memory["frozen weights, bf16"] == 2 * (n_parameters(network) - n_weights)


def test_the_plan_leaves_the_output_layer_of_a_language_model_as_transformers_does(cheap: None) -> None:
    model = meta_mllm("smolvlm")
    linears = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    n_weights = linears - model.get_output_embeddings().weight.numel()
    preset = FULL_PRESETS["sd15-smolvlm"].with_overrides(load_4bit=True)
    memory = full_plan.plan_of(preset).stages[0].memory
    assert memory["frozen weights, 4 bit"] == n_weights * BYTES_A_WEIGHT


def test_four_bits_without_bitsandbytes_come_with_its_command(cli, tmp_path: Path, without_bitsandbytes: None) -> None:
    """Before anything is loaded, and before weights are asked for."""
    for call in (
        lambda: train_full(FULL_PRESETS["flux-smolvlm"], work=tmp_path, out=tmp_path / "model"),
        lambda: quantise(network_of(silent_pipeline("flux")), CPU),
    ):
        with pytest.raises(ModelError, match="expected bitsandbytes") as refused:
            call()
        assert refused.value.hint == "pip install 'prefgen[quant]'"
    status, _, err = cli("train", "--preset", "flux-smolvlm", "--work", tmp_path)
    assert status == 2
    assert "hint: pip install 'prefgen[quant]'" in err


@needs_bitsandbytes
@pytest.mark.slow
@FAMILY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_in_four_bits_is_near_and_its_rounded_weights_are_all_that_differs(
    family: str, dtype: torch.dtype
) -> None:
    pipe = silent_pipeline(family)
    rows = two_people(pipe, family, 4).to(dtype=dtype)
    network: Any = network_of(pipe).to(dtype)
    quantised = copy.deepcopy(network)
    chosen, n_bytes = set(four_bit_layers(network)), 0
    quantise(quantised, CPU)
    assert chosen == set(in_four_bits(quantised))
    for layer in in_four_bits(quantised).values():
        weight: Any = layer.weight
        assert (weight.dtype, weight.quant_state.quant_type, weight.quant_state.nested) == (torch.uint8, "nf4", True)
        assert not weight.requires_grad
        n_bytes += weight.numel()
    assert n_bytes == sum(layer.weight.numel() for layer in four_bit_layers(network).values()) / 2
    assert (quantised.dtype, quantised.device.type) == (dtype, CPU)
    plain, rough = said_by(network, rows).float(), said_by(quantised, rows).float()
    assert 0.005 < (rough - plain).norm() / plain.norm() < FARTHEST[family]
    exact = {torch.float32: 1e-5, torch.bfloat16: 0.02}[dtype]
    assert (rough - said_by(rounded(network, quantised), rows)).norm() / plain.norm() < exact


@needs_bitsandbytes
@pytest.mark.slow
@FAMILY
def test_gradients_pass_through_four_bits_to_adapter_and_projector_alone(family: str) -> None:
    """They are those of the rounded weights in full precision, and point nearly where those of the plain ones do."""
    pipe = silent_pipeline(family)
    rows = two_people(pipe, family, 4).to(dtype=torch.float32)
    network = network_of(pipe)
    quantised = copy.deepcopy(network)
    torch.manual_seed(0)
    model = PersonalBackbone.for_network(network, d_user=D_USER, n_tokens=2)
    quantise(quantised, CPU)
    plain, rough, exact = (
        gradients(model, heard, pipe, rows) for heard in (network, quantised, rounded(network, quantised))
    )
    assert set(rough) == {name for name, _ in model.named_parameters()}
    torch.testing.assert_close(rough, exact, atol=1e-6, rtol=1e-3)
    told, known = (torch.cat([g.flatten() for g in found.values()]) for found in (rough, plain))
    assert F.cosine_similarity(told, known, dim=0) > 0.9


@needs_bitsandbytes
@pytest.mark.slow
@FAMILY
def test_an_adapter_starts_from_the_weights_before_they_are_rounded(family: str) -> None:
    """One made for a network in four bits already has the right widths, and starts from the rounded weights."""
    network = network_of(silent_pipeline(family))
    known = UserAdapter.for_network(network, init="copy").state_dict()
    preset = FullPreset(name="tiny", backbone="flux", mllm="smolvlm", load_4bit=True, user_tokens=2)
    model = full_run._personal(network, preset, d_user=D_USER, device="cpu")
    assert in_four_bits(network)
    for name, value in model.adapter.state_dict().items():
        assert torch.equal(value.cpu(), known[name]), name
    late = UserAdapter.for_network(network, init="copy").state_dict()
    for name, value in late.items():
        apart = (value.cpu() - known[name]).norm() / known[name].norm()
        assert 0.01 < apart < 0.25, name


@needs_bitsandbytes
@pytest.mark.slow
@FAMILY
def test_a_whole_run_in_four_bits_resumes_and_its_adapter_fits_full_precision(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = silent_pipeline(family)
    pipe.save_pretrained(tmp_path / "weights")
    monkeypatch.setattr(full_run, "weights_of", lambda *_: tmp_path / "weights")
    preset = FullPreset(
        name="tiny",
        backbone="sd15",
        mllm="smolvlm",
        load_4bit=True,
        user_tokens=2,
        adapter_batch=2,
        adapter_samples=8,
        adapter_rate=1e-2,
    )
    for run in ("broken", "whole"):
        save_rows(two_people(pipe, family), tmp_path / run / "rows", 0)
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    assert not train_full(preset, work=broken, out=broken / "model", max_minutes=0.0)
    assert not (broken / "model").exists()
    assert train_full(preset, work=broken, out=broken / "model")
    assert train_full(preset, work=whole, out=whole / "model")
    network: Any = network_of(pipe)
    fresh = PersonalBackbone.for_network(network, d_user=D_USER, n_tokens=2).adapter.state_dict()
    resumed, unbroken = (PersonalBackbone.load(folder / "model", network) for folder in (broken, whole))
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert all((value != fresh[name]).any() for name, value in unbroken.adapter.state_dict().items())
    rows = RowFolder(whole / "rows").rows([0, 1]).to(dtype=torch.float32)
    with torch.no_grad(), unbroken.adapter.injected(network), unbroken.adapter.users(None):
        nobody = said_by(network, rows)
        unbroken.hear({"like": rows.like, "dislike": rows.dislike})
        somebody = said_by(network, rows)
    assert bool(somebody.isfinite().all())
    assert not torch.equal(nobody, somebody)
