"""A stock IP-Adapter (arXiv 2308.06721) shown the mean of what a person likes; what they dislike is its negative.

The file and its picture encoder are anybody's, in the layout that diffusers' `load_ip_adapter` reads. Only adapters
that hear a whole picture's embedding are taken: the mean of those is a picture's embedding again, the mean of patches
is mush.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from prefgen.core import History, HistoryItem, InputError, ModelError
from prefgen.pipeline.loading import loaded
from prefgen.pipeline.untrained.base import hub_arguments, unreachable
from prefgen.pipeline.untrained.person import Ask, digest_of, images_of, names_of

STOCK = "h94/IP-Adapter"
_FOLDERS = ("", "models", "sdxl_models")
_TAKEN = "ip-adapter_sd15, ip-adapter_sd15_light, ip-adapter_sdxl and ip-adapter_sdxl_vit-h are"


@dataclass(frozen=True, kw_only=True, eq=False)
class IpAdapter:
    """A stock adapter's weights, `{"image_proj": …, "ip_adapter": …}`, and its picture encoder (kept on the CPU)."""

    name: str
    state: dict[str, dict[str, Tensor]]
    encoder: Any
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    @torch.no_grad()
    def embeds(self, pictures: Sequence[Image.Image], device: torch.device) -> Tensor:
        """float32 [n, d_clip] on the CPU: the encoder's embeddings of pictures, each by itself."""
        from transformers import CLIPImageProcessorPil

        side = self.encoder.config.image_size
        reader = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
        pixels = [reader(images=picture, return_tensors="pt")["pixel_values"] for picture in pictures]
        self.encoder.to(device)
        try:
            read = [self.encoder(pixel_values=x.to(device, self.encoder.dtype)).image_embeds for x in pixels]
        finally:
            self.encoder.to("cpu")
        return torch.cat(read).float().cpu()

    @contextmanager
    def injected(self, pipe: Any, scale: float) -> Iterator[None]:
        """While open, the pipeline has the adapter; afterwards it is as before."""
        unet, extractor = pipe.unet, pipe.feature_extractor
        before = (unet.attn_processors, unet.encoder_hid_proj, unet.config.encoder_hid_dim_type)
        try:
            if self._made.get("unet") is unet:
                _set(unet, *self._made["there"])
            else:
                pipe.load_ip_adapter(self.state, subfolder="", weight_name="", image_encoder_folder=None)
                there = (unet.attn_processors, unet.encoder_hid_proj, unet.config.encoder_hid_dim_type)
                self._made.update(unet=unet, there=there)
            pipe.set_ip_adapter_scale(scale)
            yield
        finally:
            _set(unet, *before)
            pipe.register_modules(feature_extractor=extractor)


@dataclass(frozen=True, kw_only=True, eq=False)
class IpAdapterPerson:
    """Somebody known by the mean embedding [d_clip] of what they like, and of what they dislike if anything.

    `like_strength` is the adapter's scale. `dislike_strength` says how far the negative embedding lies from nothing
    (0: zeros, as stock) towards the mean of what is disliked (1). An adapter of scale 0 says nothing of dislikes
    either.
    """

    adapter: IpAdapter
    liked: Tensor
    disliked: Tensor | None
    digest: str

    way: ClassVar[str] = "ip-adapter"
    like_strength: ClassVar[float] = 0.6
    dislike_strength: ClassVar[float] = 0.5
    guidance_scale: ClassVar[float | None] = None

    @property
    def has_dislikes(self) -> bool:
        """Whether anything is disliked."""
        return self.disliked is not None

    @property
    def told(self) -> dict[str, object]:
        """The adapter's name."""
        return {"ip_adapter": self.adapter.name}

    @contextmanager
    def heard(self, pipe: Any, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `UntrainedPerson`."""
        if not ask.like_strength:
            yield ask.plain()
            return
        away = torch.zeros_like(self.liked) if self.disliked is None else ask.dislike_strength * self.disliked
        rows = torch.stack([away, self.liked] if ask.guided else [self.liked])[:, None]
        there = rows.to(pipe._execution_device, pipe.unet.dtype)
        with self.adapter.injected(pipe, ask.like_strength):
            yield {**ask.plain(), "ip_adapter_image_embeds": [there]}


def ip_adapter_person(pipe: Any, adapter: IpAdapter, history: History) -> IpAdapterPerson:
    """Somebody from a history; pictures count by their weights.

    Raises:
        InputError: nothing is liked.
    """
    if not history.liked:
        raise InputError(
            "expected at least one liked picture for an IP-Adapter", hint="fabric can do with dislikes alone"
        )
    device = pipe._execution_device
    return IpAdapterPerson(
        adapter=adapter,
        liked=_mean(adapter, history.liked, device),
        disliked=_mean(adapter, history.disliked, device) if history.disliked else None,
        digest=digest_of(IpAdapterPerson.way, [adapter.name, *names_of(history)]),
    )


def load_ip_adapter(
    pipe: Any, name: str = STOCK, weight: str | None = None, image_encoder: str | None = None, **hub: Any
) -> IpAdapter:
    """A stock IP-Adapter that fits a pipeline, from a folder or the hub.

    Args:
        name: a folder, or a hub name such as `h94/IP-Adapter`.
        weight: the file's name, or its path inside `name`; the default is h94's plain one for the base's kind.
        image_encoder: the encoder's folder inside `name`, or a folder of its own; the default is where h94 keeps it.

    Raises:
        ModelError: it is not there, is no adapter of this kind, or was made for another base.
    """
    hub, xl = hub_arguments(**hub), isinstance(pipe, StableDiffusionXLPipeline)
    weight = weight or ("ip-adapter_sdxl.safetensors" if xl else "ip-adapter_sd15.safetensors")
    if not weight.endswith(".safetensors"):
        hint = "nothing is unpickled here; most adapters come as .safetensors too"
        raise ModelError(f"expected a .safetensors file as IP-Adapter, got {weight}", hint=hint)
    path, within = _weight_file(name, weight, xl, hub)
    state = _split(loaded(f"IP-Adapter {weight}", lambda: load_file(path)))
    _check_fits(pipe, weight, state)
    vit_h = "vit-h" in weight or not xl
    home = image_encoder or (f"{'models' if vit_h and within else within}/image_encoder".lstrip("/"))
    encoder = _encoder(name, home, pipe.unet.dtype, hub)
    needed, got = state["image_proj"]["proj.weight"].shape[1], encoder.config.projection_dim
    if needed != got:
        raise ModelError(
            f"the IP-Adapter {weight} reads embeddings of width {needed}, the encoder {home} makes {got}",
            hint="give the encoder it was trained with: --image-encoder",
        )
    return IpAdapter(name=f"{_shown(name)}/{weight}", state=state, encoder=encoder)


def _mean(adapter: IpAdapter, items: Sequence[HistoryItem], device: torch.device) -> Tensor:
    weights = torch.tensor([item.weight for item in items])
    return (weights / weights.sum()) @ adapter.embeds(images_of(items), device)


def _set(unet: Any, processors: Any, projection: Any, kind: str | None) -> None:
    unet.set_attn_processor(dict(processors))
    unet.encoder_hid_proj = projection
    unet.config.encoder_hid_dim_type = kind


def _weight_file(name: str, weight: str, xl: bool, hub: dict[str, Any]) -> tuple[Path, str]:
    """The file on this machine, and the folder inside `name` in which it lies."""
    folder = Path(name).expanduser()
    parent, _, file = weight.rpartition("/")
    if folder.is_dir():
        for inside in [parent] if parent else _FOLDERS:
            if (folder / inside / file).is_file():
                return folder / inside / file, inside
        there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))
        raise ModelError(f"there is no {weight} in {folder}", hint=f"there are {', '.join(there[:6]) or 'no adapters'}")
    from huggingface_hub import hf_hub_download

    inside = parent or ("sdxl_models" if xl else "models")
    try:
        return Path(hf_hub_download(name, file, subfolder=inside, **hub)), inside
    except Exception as error:  # no network, no such name, no such file
        raise unreachable("IP-Adapter", f"{name}/{inside}/{file}", error, f"the usual one is {STOCK}") from error


def _encoder(name: str, home: str, dtype: torch.dtype, hub: dict[str, Any]) -> Any:
    from transformers import CLIPVisionModelWithProjection

    base = Path(name).expanduser()
    local = next((p for p in (base / home, Path(home).expanduser()) if (p / "config.json").is_file()), None)
    if local is None and base.is_dir():
        raise ModelError(f"there is no picture encoder {home} in {base}", hint="say where it lies: --image-encoder")
    source, more = (local, {}) if local is not None else (name, {"subfolder": home})
    try:
        encoder = CLIPVisionModelWithProjection.from_pretrained(
            source, dtype=dtype, use_safetensors=True, **more, **hub
        )
    except Exception as error:  # as above
        raise unreachable("picture encoder", f"{source} {home}", error, "say where it lies: --image-encoder") from error
    return encoder.eval().requires_grad_(False)


def _split(flat: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts = ("image_proj", "ip_adapter")
    return {p: {k[len(p) + 1 :]: v for k, v in flat.items() if k.startswith(f"{p}.")} for p in parts}


def _check_fits(pipe: Any, weight: str, state: dict[str, dict[str, Tensor]]) -> None:
    """Raises `ModelError` for an adapter of another layout, or of another base."""
    projection, layers = state["image_proj"], state["ip_adapter"]
    if not projection or not layers:
        raise ModelError(f"expected an IP-Adapter in {weight}, got a file without image_proj and ip_adapter")
    if set(projection) != {"proj.weight", "proj.bias", "norm.weight", "norm.bias"}:
        raise ModelError(
            f"expected an IP-Adapter that hears whole pictures, got another layout in {weight}",
            hint=f"{_TAKEN} of this kind; plus, full-face and FaceID adapters are not",
        )
    wide = pipe.unet.config.cross_attention_dim
    got = {tensor.shape[1] for name, tensor in layers.items() if name.endswith("to_k_ip.weight")}
    sites = [name for name in pipe.unet.attn_processors if "attn2" in name]
    if got != {wide} or 2 * len(sites) != len(layers):
        found = f"{len(layers) // 2} layers of width {', '.join(map(str, sorted(got)))}"
        raise ModelError(
            f"{weight} is another base's IP-Adapter: {found}, this base has {len(sites)} of width {wide}",
            hint="ip-adapter_sd15 is for Stable Diffusion 1.5, ip-adapter_sdxl for SDXL",
        )


def _shown(name: str) -> str:
    """A hub name as it is, of a folder its own name alone: picture files are shared."""
    return Path(name).expanduser().name if Path(name).expanduser().is_dir() else name
