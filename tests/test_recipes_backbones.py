"""Adapters learn on every family from prepared rows: the loss falls, only they change, and what is saved comes back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from prefgen.adapter import GROUPS, network_of
from prefgen.core import ConfigError, DataError, InputError
from prefgen.diffusion import (
    Conditions,
    backbone_loss,
    encode_pictures,
    encode_prompts,
    flow_weights,
    flux_time_mean,
    min_snr_weights,
    noise_prediction_loss,
    objective_of,
    predictor,
    sample_times,
)
from prefgen.diffusion.conditions import packed, unpacked
from prefgen.recipes.backbone_adapter import PersonalBackbone, adapter_loss, train_backbone_adapter
from prefgen.recipes.loop import LoopSettings
from prefgen.recipes.prepared_rows import RowFolder, Rows, prepare_rows, save_rows
from tiny_backbones import PIPELINES, call_arguments, silent_pipeline, tiny_sd15_pipeline
from tiny_diffusion import generators, tiny_pipeline

FAMILY = pytest.mark.parametrize("family", PIPELINES)
SIDE_PX, D_USER, LONGEST = 16, 6, 12


def two_people(pipe: Any, family: str, n: int = 8) -> Rows:
    """Half the rows are a dark picture for one person, half a light one for another, all for the same prompt."""
    images = [Image.new("RGB", (SIDE_PX, SIDE_PX), "black" if i % 2 else "white") for i in range(n)]
    draw = torch.Generator().manual_seed(1)
    people = torch.randn(2, D_USER, generator=draw)
    like, dislike = people[[i % 2 for i in range(n)]], people[[(i + 1) % 2 for i in range(n)]]
    longest = LONGEST if family in ("sd3", "flux") else None
    return prepare_rows(pipe, images, [""] * n, like, dislike, side_px=SIDE_PX, longest_text=longest)


@FAMILY
def test_the_predictor_says_what_the_network_says_inside_the_stock_pipeline(family: str) -> None:
    pipe = silent_pipeline(family)
    network, heard = network_of(pipe), []

    def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        heard.append((args[0] if args else kwargs["hidden_states"], args, kwargs, out[0]))

    hook = network.register_forward_hook(keep, with_kwargs=True)
    arguments = call_arguments(family, guided=False) | {"guidance_scale": 3.5 if family == "flux" else 1.0}
    pipe(["a fox", "a cat"], generator=generators(2), **arguments)
    hook.remove()
    x, args, kwargs, said = heard[0]
    timestep = args[1] if len(args) > 1 else kwargs["timestep"]
    if family == "flux":
        x, said, timestep = unpacked(x, 8, 8), unpacked(said, 8, 8), timestep * 1000
    longest = LONGEST if family in ("sd3", "flux") else None
    conditions = encode_prompts(pipe, ["a fox", "a cat"], side_px=16, longest_text=longest)
    with torch.no_grad():
        ours = predictor(network, conditions)(x, torch.as_tensor(timestep).expand(2))
    torch.testing.assert_close(ours, said, atol=1e-5, rtol=1e-4)


@FAMILY
def test_latents_come_back_as_the_pictures(family: str) -> None:
    """Encoded here and decoded by the pipeline's own formula they are what the autoencoder makes of the picture."""
    pipe = silent_pipeline(family)
    z = encode_pictures(pipe, [Image.new("RGB", (40, 40), "red")], side_px=SIDE_PX)
    config, pixels = pipe.vae.config, torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(1, 3, SIDE_PX, SIDE_PX)
    with torch.no_grad():
        known = pipe.vae.encode(pixels).latent_dist.mean
    torch.testing.assert_close(z / config.scaling_factor + (config.shift_factor or 0), known, atol=1e-3, rtol=1e-3)


def test_packing_is_the_pipelines_own() -> None:
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(packed(x), PIPELINES["flux"]()._pack_latents(x, 2, 3, 4, 6))
    assert torch.equal(unpacked(packed(x), 4, 6), x)
    with pytest.raises(InputError, match="even"):
        packed(torch.zeros(1, 1, 3, 4))


def test_weights_in_closed_form() -> None:
    snr = torch.tensor([0.0, 1.0, 5.0, 50.0])
    torch.testing.assert_close(min_snr_weights(snr, "epsilon"), torch.tensor([1.0, 1.0, 1.0, 0.1]))
    torch.testing.assert_close(min_snr_weights(snr, "v_prediction"), torch.tensor([0.0, 0.5, 5 / 6, 5 / 51]))
    t = torch.tensor([0.5, 0.9])
    torch.testing.assert_close(flow_weights(t), torch.ones(2))
    torch.testing.assert_close(flow_weights(t, "sigma_sqrt"), t**-2)
    torch.testing.assert_close(flow_weights(t, "cosmap")[0], torch.tensor(4 / math.pi))
    with pytest.raises(ConfigError, match="did you mean 'cosmap'"):
        flow_weights(t, "cosmpa")


def test_fluxs_times_are_shifted_as_its_sampler_shifts_them() -> None:
    """mu of diffusers' `calculate_shift`, whose `e^mu/(e^mu + 1/t - 1)` is an addend in logits."""
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    for n in (256, 1024, 4096):
        assert flux_time_mean(n) == pytest.approx(calculate_shift(n))
    plain = sample_times(50, torch.Generator().manual_seed(0))
    shifted = sample_times(50, torch.Generator().manual_seed(0), mean=flux_time_mean(1024))
    e = math.exp(flux_time_mean(1024))
    torch.testing.assert_close(shifted, e / (e + 1 / plain - 1))


@pytest.mark.parametrize("objective", ["epsilon", "v_prediction"])
def test_who_knows_the_data_has_no_loss_and_the_scheduler_agrees(objective: Any) -> None:
    pipe = tiny_sd15_pipeline(prediction_type=objective)
    assert objective_of(pipe.scheduler) == objective
    clean, noise = torch.randn(4, 4, 8, 8), torch.randn(4, 4, 8, 8)
    steps, kept = torch.tensor([0, 10, 500, 999]), pipe.scheduler.alphas_cumprod

    def knows(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        torch.testing.assert_close(x, pipe.scheduler.add_noise(clean, noise, t))
        return noise if objective == "epsilon" else pipe.scheduler.get_velocity(clean, noise, t)

    loss = noise_prediction_loss(knows, clean, kept, objective, timesteps=steps, noise=noise)
    assert loss.max() < 1e-9
    off = noise_prediction_loss(lambda x, t: knows(x, t) + 1, clean, kept, objective, timesteps=steps, noise=noise)
    torch.testing.assert_close(off, min_snr_weights(kept[steps] / (1 - kept[steps]), objective))


def test_the_embedded_models_loss_is_a_flow() -> None:
    pipe = tiny_pipeline()
    assert objective_of(pipe.scheduler) == "flow"
    z, text = torch.randn(2, 4, 8, 8), Conditions(text=torch.randn(2, 5, 32))
    with torch.no_grad():
        even = backbone_loss(pipe.unet, pipe.scheduler, z, text, torch.Generator().manual_seed(0))
        more = backbone_loss(
            pipe.unet, pipe.scheduler, z, text, torch.Generator().manual_seed(0), flow_weighting="sigma_sqrt"
        )
    times = sample_times(2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(more, even / times**2)


def test_missing_conditions_are_told() -> None:
    pipe = silent_pipeline("sdxl")
    with pytest.raises(InputError, match="pooled and time_ids"):
        predictor(pipe.unet, Conditions(text=torch.zeros(1, 2, 64)))


@FAMILY
def test_an_adapter_learns_from_prepared_rows(family: str, tmp_path: Path) -> None:
    """Who is heard decides what is painted, so the loss falls; the network keeps its bits and gets no gradient."""
    pipe = silent_pipeline(family)
    network = network_of(pipe)
    save_rows(two_people(pipe, family), tmp_path / "rows", 0)
    rows = RowFolder(tmp_path / "rows")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = PersonalBackbone.for_network(network, d_user=D_USER, n_tokens=2)

    def mean_loss() -> float:
        with torch.no_grad(), model.adapter.injected(network), model.adapter.users(None):
            everything = rows.rows(list(range(len(rows)))).to(dtype=torch.float32)
            draws = [torch.Generator().manual_seed(k) for k in range(6)]
            return float(np.mean([adapter_loss(model, pipe.scheduler, everything, g)["loss"] for g in draws]))

    start = mean_loss()
    settings = LoopSettings(
        n_samples=320, batch_size=8, learning_rate=1e-2, warmup_samples=16, ema_decay=0.9, bf16=False
    )
    trained = train_backbone_adapter(model, pipe.scheduler, rows, tmp_path, settings)
    assert mean_loss() < 0.97 * start
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not trained.adapter.is_injected
    trained.save(tmp_path / "model")
    again = PersonalBackbone.load(tmp_path / "model", network)
    assert all(torch.equal(a, b) for a, b in zip(trained.state_dict().values(), again.state_dict().values()))


@FAMILY
def test_gradients_reach_adapter_and_projector_alone_and_checkpointing_changes_none(family: str) -> None:
    pipe = silent_pipeline(family)
    network: Any = network_of(pipe)
    rows, found = two_people(pipe, family, 4), []
    torch.manual_seed(0)
    model = PersonalBackbone.for_network(network, d_user=D_USER, n_tokens=2)
    for checkpointing in (False, True):
        network.enable_gradient_checkpointing() if checkpointing else network.disable_gradient_checkpointing()
        model.zero_grad(set_to_none=True)
        with model.adapter.injected(network), model.adapter.users(None):
            loss = adapter_loss(model, pipe.scheduler, rows, torch.Generator().manual_seed(3))["loss"]
            loss.backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in found[0].values())
    assert all(parameter.grad is None for parameter in network.parameters())
    torch.testing.assert_close(found[0], found[1])
    assert {name.split(".")[0] for name in found[0]} == {"adapter", "projector"}


@FAMILY
def test_a_network_in_bfloat16_trains_a_float32_adapter(family: str) -> None:
    pipe = silent_pipeline(family)
    rows = two_people(pipe, family, 2)
    network: Any = network_of(pipe).to(torch.bfloat16)
    model = PersonalBackbone.for_network(network, d_user=D_USER, n_tokens=2)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with model.adapter.injected(network), model.adapter.users(None):
        loss = adapter_loss(model, pipe.scheduler, rows.to(dtype=torch.bfloat16), torch.Generator().manual_seed(3))
        loss["loss"].backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(g is not None and g.dtype == torch.float32 and bool(g.isfinite().all()) for g in gradients)


def test_rows_come_back_from_several_files(tmp_path: Path) -> None:
    pipe = silent_pipeline("sdxl")
    rows = two_people(pipe, "sdxl", 4)
    for index in range(2):
        save_rows(rows, tmp_path, index, torch.float32)
    folder = RowFolder(tmp_path)
    assert len(folder) == 8
    drawn = folder.rows([5, 0])
    for name, value in rows.tensors().items():
        assert torch.equal(drawn.tensors()[name], value[[1, 0]]), name
    assert {*GROUPS} < set(drawn.tensors())
    with pytest.raises(DataError, match="prepared rows"):
        RowFolder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="4 prompts"):
        prepare_rows(pipe, [Image.new("RGB", (8, 8))] * 4, ["a"], rows.like, rows.dislike, side_px=8)
