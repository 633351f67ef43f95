"""Bases and adapters by name or folder: what is not there, not whole or made for something else is told in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import plain
from prefgen.core import ConfigError, ModelError
from prefgen.pipeline.loading import safetensors_header
from prefgen.pipeline.untrained import UntrainedModel, base_folder, dtype_for, load_ip_adapter, numbers_of
from prefgen.pipeline.untrained.base import memory_told, unreachable
from tiny_diffusion import tiny_pipeline
from tiny_untrained import BASES, adapter_state, save_adapters, save_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base("sd15", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapters(tmp_path_factory.mktemp("adapters"))


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def test_a_base_that_is_not_there_is_told_with_the_nearest_known() -> None:
    with pytest.raises(ModelError, match="no base 'stable-difusion-v1-5'") as found:
        base_folder("stable-difusion-v1-5")
    assert "did you mean 'stable-diffusion-v1-5/stable-diffusion-v1-5'" in str(found.value.hint)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids") as found:
        base_folder("runwayml/stable-diffusion-v1-5")
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in str(found.value.hint)
    with pytest.raises(ModelError, match=r"no base '\./nowhere'"):
        base_folder("./nowhere")


def test_without_a_network_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DiffusionPipeline
    from huggingface_hub import constants

    def fails(*arguments: object, **named: object) -> None:
        assert "local_files_only" not in named
        raise ConnectionError("the network is down")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(DiffusionPipeline, "load_config", fails)
    with pytest.raises(ModelError, match="could not be downloaded: the network is down"):
        base_folder("someone/their-base")


def test_what_the_hub_says_is_passed_on() -> None:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    def raised(kind: type[Exception]) -> Exception:
        error = OSError("wrapped")
        error.__cause__ = kind.__new__(kind)
        return error

    assert "no base 'a/b' on the hub" in unreachable("base", "a/b", raised(RepositoryNotFoundError), "hint").message
    assert "licence" in unreachable("base", "a/b", raised(GatedRepoError), "hint").message
    assert "not on this machine" in unreachable("base", "a/b", raised(ConnectionError), "hint").message


@pytest.mark.parametrize("kind", ["FluxPipeline", "StableDiffusionInpaintPipeline", "StableDiffusion3Pipeline"])
def test_another_kind_of_base_is_refused_before_its_weights_are_read(kind: str, copy: Path) -> None:
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"_class_name": kind}))
    shutil.rmtree(copy / "unet")
    with pytest.raises(ModelError, match=f"got {kind}") as found:
        UntrainedModel.from_pretrained(copy, device="cpu")
    assert "stable-diffusion-xl-base-1.0" in str(found.value.hint)


def test_a_pipeline_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="got SimpleNamespace"):
        UntrainedModel(__import__("types").SimpleNamespace())
    assert UntrainedModel(tiny_pipeline()).name == "StableDiffusionPipeline"


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("unet/diffusion_pytorch_model.safetensors", "missing unet/"),
        ("text_encoder/config.json", "missing text_encoder/"),
        ("model_index.json", "missing model_index.json"),
        ("tokenizer", "missing tokenizer/"),
    ],
)
def test_a_half_downloaded_folder_names_what_is_missing(lost: str, told: str, copy: Path) -> None:
    path = copy / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ModelError, match=told):
        UntrainedModel.from_pretrained(copy, device="cpu")


def test_a_file_cut_short_is_told_and_one_that_is_none_of_the_bases_is_not_looked_at(copy: Path) -> None:
    (copy / "v1-5-pruned.safetensors").write_bytes(b"half of a checkpoint")
    assert UntrainedModel.from_pretrained(copy, device="cpu").name == "copy"
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cut short"):
        UntrainedModel.from_pretrained(copy, device="cpu")
    with pytest.raises(ModelError, match="got the file") as found:
        base_folder(copy / "v1-5-pruned.safetensors")
    assert "from_single_file" in str(found.value.hint)


def test_weights_are_counted_before_they_are_read(copy: Path) -> None:
    pipe = BASES["sd15"]()
    parts = {"unet": pipe.unet, "vae": pipe.vae, "text_encoder": pipe.text_encoder}
    counted = numbers_of(copy)
    assert set(counted) == set(parts)
    for name in ("unet", "vae"):
        assert counted[name] == sum(p.numel() for p in parts[name].parameters())
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    half = {name: tensor.half() for name, tensor in load_file(path).items()}
    save_file(half, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert numbers_of(copy) == numbers_of(copy, "fp16") == counted
    (copy / "left_over").mkdir()
    shutil.copy(path, copy / "left_over")
    assert numbers_of(copy) == counted
    assert safetensors_header(path)[1]["conv_in.bias"]["shape"] == [16]


def test_half_the_numbers_where_a_gpu_is() -> None:
    assert dtype_for("auto", torch.device("cuda")) == torch.float16
    assert dtype_for("auto", torch.device("cpu")) == torch.float32
    assert dtype_for("bfloat16", torch.device("cuda")) == torch.bfloat16
    with pytest.raises(ConfigError, match="expected a dtype"):
        dtype_for("float8", torch.device("cpu"))


def test_offloading_needs_something_to_offload_from(base: Path) -> None:
    with pytest.raises(ConfigError, match="offload"):
        UntrainedModel.from_pretrained(base, device="cpu", offload=True)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_says_what_to_lower(error: Exception, base: Path, monkeypatch) -> None:
    model = UntrainedModel.from_pretrained(base, device="cpu")
    person = model.by_fabric([plain("red")])

    def fails(*arguments, **named):
        raise error

    monkeypatch.setattr(model.pipe.unet, "forward", fails)
    with pytest.raises(ConfigError, match="not enough memory for painting") as found:
        model("a fox", person, seed=1, num_inference_steps=2, num_images_per_prompt=2, batch_size=2)
    for way_out in ("--batch-size 1", "--references", "--dtype float16", "--offload", "--height"):
        assert way_out in str(found.value.hint)
    with pytest.raises(ConfigError) as found:
        model("a fox", seed=1, num_inference_steps=2)
    assert "--references" not in str(found.value.hint)
    with pytest.raises(RuntimeError, match="another"), memory_told("painting", []):
        raise RuntimeError("another mistake")


def test_adapters_that_do_not_fit_are_told(base: Path, adapters: Path, tmp_path: Path) -> None:
    pipe = UntrainedModel.from_pretrained(base, device="cpu").pipe
    assert load_ip_adapter(pipe, str(adapters)).name.endswith("/ip-adapter_sd15.safetensors")
    assert (
        load_ip_adapter(pipe, str(adapters), "models/ip-adapter_sd15.safetensors").encoder.config.projection_dim == 16
    )
    with pytest.raises(ModelError, match=r"another base's IP-Adapter: 8 layers of width 64, .* 7 of width 32"):
        load_ip_adapter(pipe, str(adapters), "ip-adapter_sdxl.safetensors")
    with pytest.raises(ModelError, match=r"no ip-adapter_x\.safetensors") as found:
        load_ip_adapter(pipe, str(adapters), "ip-adapter_x.safetensors")
    assert "ip-adapter_sd15.safetensors" in str(found.value.hint)
    with pytest.raises(ModelError, match=r"expected a \.safetensors"):
        load_ip_adapter(pipe, str(adapters), "ip-adapter_sd15.bin")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        load_ip_adapter(pipe, "someone/their-adapter")
    with pytest.raises(ModelError, match=r"reads embeddings of width 16, the encoder .* makes 20"):
        load_ip_adapter(pipe, str(adapters), image_encoder=str(adapters / "sdxl_models" / "image_encoder"))
    with pytest.raises(ModelError, match="no picture encoder"):
        load_ip_adapter(pipe, str(adapters), image_encoder="nowhere")
    state = adapter_state(pipe.unet, 16)
    for name, wrong, told in (
        ("plus", {"image_proj.latents": torch.zeros(1, 4, 8)}, "another layout"),
        ("lora", {"unet.lora": torch.zeros(1)}, "got a file without"),
    ):
        save_file(wrong if name == "lora" else state | wrong, tmp_path / f"{name}.safetensors")
        with pytest.raises(ModelError, match=told):
            load_ip_adapter(pipe, str(tmp_path), f"{name}.safetensors")
    short = {name: tensor for name, tensor in state.items() if not name.startswith("ip_adapter.3.")}
    save_file(short, tmp_path / "short.safetensors")
    with pytest.raises(ModelError, match="another base's"):
        load_ip_adapter(pipe, str(tmp_path), "short.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "short.safetensors").read_bytes()[:-50])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_ip_adapter(pipe, str(tmp_path), "cut.safetensors")


def test_an_sdxl_adapter_with_the_smaller_encoder_finds_it_where_it_is_published(tmp_path: Path) -> None:
    folder, pipe = save_adapters(tmp_path), BASES["sdxl"]()
    save_file(adapter_state(pipe.unet, 16), folder / "sdxl_models" / "ip-adapter_sdxl_vit-h.safetensors")
    assert load_ip_adapter(pipe, str(folder), "ip-adapter_sdxl_vit-h.safetensors").encoder.config.projection_dim == 16
    assert load_ip_adapter(pipe, str(folder)).encoder.config.projection_dim == 20


def as_if_downloaded(folder: Path, name: str, cache: Path) -> None:
    """A folder where the hub's client keeps what it has downloaded."""
    home, commit = cache / f"models--{name.replace('/', '--')}", "0" * 40
    shutil.copytree(folder, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)


def test_names_of_the_hub_are_loaded_as_folders_are_without_a_network(
    base: Path, adapters: Path, tmp_path: Path
) -> None:
    as_if_downloaded(base, "someone/their-base", tmp_path)
    as_if_downloaded(adapters, "someone/their-adapter", tmp_path)
    model = UntrainedModel.from_pretrained("someone/their-base", device="cpu", cache_dir=tmp_path)
    assert model.name == "someone/their-base"
    one = model.by_ip_adapter([plain("red")], adapter="someone/their-adapter", cache_dir=tmp_path)
    assert one.told == {"ip_adapter": "someone/their-adapter/ip-adapter_sd15.safetensors"}
    local = model.by_ip_adapter([plain("red")], adapter=str(adapters))
    torch.testing.assert_close(one.liked, local.liked)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        load_ip_adapter(model.pipe, "someone/their-adapter", "ip-adapter_other.safetensors", cache_dir=tmp_path)
