"""`UntrainedModel`: a person's taste on a stock Stable Diffusion 1.5 or SDXL, with public weights and no training."""

from __future__ import annotations

import inspect
import logging
import math
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from prefgen.core import ConfigError, History, InputError
from prefgen.history import PictureSource, history_from_items
from prefgen.mllm.taste_words import TasteWords
from prefgen.pipeline.loading import device_named
from prefgen.pipeline.model import PrefGenOutput
from prefgen.pipeline.seeding import Seeding
from prefgen.pipeline.untrained.base import base_folder, check_kind, dtype_for, load_base, memory_told
from prefgen.pipeline.untrained.by_fabric import FabricPerson, fabric_person
from prefgen.pipeline.untrained.by_ip_adapter import STOCK, IpAdapterPerson, ip_adapter_person, load_ip_adapter
from prefgen.pipeline.untrained.by_words import WordsPerson
from prefgen.pipeline.untrained.person import READ_PX, Ask, UntrainedPerson

_log = logging.getLogger("prefgen")


class UntrainedModel:
    """A user's own base that paints for one person in one of three ways; nothing in it is trained.

    ```python
    model = UntrainedModel.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5")
    me = model.by_ip_adapter(liked=["a.png", "b.png"], disliked=["c.png"])
    pictures = model("a fox by a lake", me, num_images_per_prompt=4, seed=7).images
    ```
    """

    def __init__(self, pipe: Any, *, name: str = "") -> None:
        """Around a stock pipeline (`from_pretrained` reads one). Raises `ModelError` for one of another kind."""
        check_kind(pipe)
        self.pipe, self.name = pipe, name or type(pipe).__name__
        self._turn = threading.RLock()

    @classmethod
    def from_pretrained(
        cls,
        base: str | os.PathLike[str],
        *,
        device: str = "auto",
        dtype: str | torch.dtype = "auto",
        variant: str | None = None,
        offload: bool = False,
        tile: bool = False,
        **hub: Any,
    ) -> UntrainedModel:
        """Loads a base by hub name or folder. `dtype` auto is float16 on cuda, else float32; `variant` names files
        such as fp16; `offload` and `tile` spare memory at some time. `hub` arguments: `revision`, `token`,
        `cache_dir`, `local_files_only`.

        Raises:
            ModelError: there is no such base, it is of another kind, or not whole.
            ConfigError: a device that is not there, or too little memory.
        """
        folder = base_folder(base, variant=variant, **hub)
        kind = dtype_for(dtype, device_named(device))
        with memory_told("the base's weights", [] if offload else ["--dtype float16", "--offload", "--device cpu"]):
            pipe = load_base(folder, device=device, dtype=kind, variant=variant, offload=offload, tile=tile)
        pipe.set_progress_bar_config(disable=True)
        return cls(pipe, name=folder.name if Path(base).expanduser().is_dir() else os.fspath(base))

    def by_words(self, liked: Iterable[str] = (), disliked: Iterable[str] = ()) -> WordsPerson:
        """Somebody known by words (`words_of_pictures` asks a vision-language model for them)."""
        return WordsPerson(words=TasteWords(liked=tuple(liked), disliked=tuple(disliked)))

    def by_ip_adapter(
        self,
        liked: Iterable[PictureSource] | None = None,
        disliked: Iterable[PictureSource] | None = None,
        *,
        history: History | None = None,
        adapter: str = STOCK,
        weight: str | None = None,
        image_encoder: str | None = None,
        **hub: Any,
    ) -> IpAdapterPerson:
        """Somebody known by their pictures through a stock IP-Adapter (see `load_ip_adapter` for its arguments)."""
        history = _history(liked, disliked, history)
        with self._turn, memory_told("the IP-Adapter", ["--dtype float16", "--offload", "--device cpu"]):
            there = load_ip_adapter(self.pipe, adapter, weight, image_encoder, **hub)
            return ip_adapter_person(self.pipe, there, history)

    def by_fabric(
        self,
        liked: Iterable[PictureSource] | None = None,
        disliked: Iterable[PictureSource] | None = None,
        *,
        history: History | None = None,
        n_references: int = 4,
    ) -> FabricPerson:
        """Somebody known by at most `n_references` pictures a side, heard through self-attention."""
        history = _history(liked, disliked, history)
        with self._turn, memory_told("reading the pictures", ["--dtype float16", "--offload", "--tile"]):
            return fabric_person(self.pipe, history, n_references)

    def __call__(
        self,
        prompt: str,
        person: UntrainedPerson | None = None,
        *,
        num_images_per_prompt: int = 1,
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        negative_prompt: str | None = None,
        like_strength: float | None = None,
        dislike_strength: float | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        height: int | None = None,
        width: int | None = None,
        batch_size: int = 1,
    ) -> PrefGenOutput:
        """Paints one prompt for one person, or for nobody. Strengths of 0 are the plain pipeline bit for bit.

        Each picture has its own seed (seed, seed + 1, …). `batch_size` pictures are painted at once; by default each is
        painted alone, so that none depends on another even in its last bit. What is left out is the way's default, and
        beyond that the pipeline's.

        Raises:
            InputError, ConfigError: counts, strengths or sizes that cannot be; too little memory, with what to lower.
        """
        _check_call(self.pipe, prompt, num_images_per_prompt, batch_size, (height, width))
        settings = self.settings(person, guidance_scale, num_inference_steps, like_strength, dislike_strength)
        strengths = {name: settings.pop(name, 0.0) for name in ("like_strength", "dislike_strength")}
        guided = settings["guidance_scale"] > 1 and self.pipe.unet.config.time_cond_proj_dim is None
        if person is not None and person.has_dislikes and strengths["dislike_strength"] and not guided:
            _log.warning("without guidance (a scale above 1) dislikes are not heard")
        self._warn_of_unheard(prompt, negative_prompt, *(() if person is None else person.told.values()))
        seeding = Seeding.of(num_images_per_prompt, generator=generator, seed=seed)
        images: list[Any] = []
        with self._turn, memory_told("painting", self._ways_out(person, batch_size, height)):
            for start in range(0, num_images_per_prompt, batch_size):
                generators = list(seeding.generators[start : start + batch_size])
                n = len(generators)
                negative = None if negative_prompt is None else (negative_prompt,) * n
                ask = Ask(prompts=(prompt,) * n, negative=negative, guided=guided, **strengths)
                images += self._painted(ask, person, generator=generators, height=height, width=width, **settings)
        return PrefGenOutput(images=images, seeds=seeding.seeds)

    def settings(
        self,
        person: UntrainedPerson | None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        like_strength: float | None = None,
        dislike_strength: float | None = None,
    ) -> dict[str, Any]:
        """Guidance, steps and, for a person, strengths: as given, or the way's or the pipeline's defaults.

        Raises `ConfigError` for what is no number, a negative strength and a number of steps that is none.
        """
        known = inspect.signature(self.pipe.__call__).parameters
        default: dict[str, Any] = {n: known[n].default for n in ("guidance_scale", "num_inference_steps")}
        given = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps}
        if person is not None:
            default |= {"guidance_scale": person.guidance_scale or default["guidance_scale"]}
            default |= {"like_strength": person.like_strength, "dislike_strength": person.dislike_strength}
            given |= {"like_strength": like_strength, "dislike_strength": dislike_strength}
        settings = default | {name: value for name, value in given.items() if value is not None}
        for name, value in settings.items():
            least = 1 if name == "num_inference_steps" else 0
            if isinstance(value, bool) or not math.isfinite(value) or value < least:
                raise ConfigError(f"expected a number of at least {least} as {name}, got {value!r}")
        return settings

    def told_of(self, person: UntrainedPerson | None, prompt: str, seed: int, **settings: object) -> dict[str, object]:
        """What a picture file should tell: prompt, seed, settings, the way, the person's digest, the base's name."""
        told: dict[str, object] = {"prompt": prompt, "seed": seed, **settings, "base": self.name}
        if person is None:
            return told
        return told | {"with": person.way, **person.told, "profile": person.digest}

    def _warn_of_unheard(self, *texts: object) -> None:
        """Texts longer than the text encoder reads."""
        tokenizer = self.pipe.tokenizer
        for text in texts:
            if isinstance(text, str) and (n := len(tokenizer(text).input_ids)) > (most := tokenizer.model_max_length):
                _log.warning("%r… has %d tokens, the last %d are not heard", text[:32], n, n - most)

    def _painted(self, ask: Ask, person: UntrainedPerson | None, **arguments: Any) -> list[Any]:
        """One call of the pipeline."""
        if person is None:
            made = self.pipe(**ask.plain(), **arguments)
        else:
            with person.heard(self.pipe, ask) as told:
                made = self.pipe(**told, **arguments)
        if any(getattr(made, "nsfw_content_detected", None) or ()):
            _log.warning("the base's own safety checker blacked a picture out")
        return list(made.images)

    def _ways_out(self, person: UntrainedPerson | None, batch_size: int, height: int | None) -> list[str]:
        """What may be lowered when memory is short."""
        half = self.pipe.unet.dtype != torch.float32
        offloads = any(hasattr(part, "_hf_hook") for part in (self.pipe.unet, self.pipe.vae))
        return [
            *(["--batch-size 1"] if batch_size > 1 else []),
            *(["--references"] if isinstance(person, FabricPerson) else []),
            *([] if half else ["--dtype float16"]),
            *([] if offloads else ["--offload"]),
            "--tile",
            "--height and --width",
        ]


def _history(
    liked: Iterable[PictureSource] | None, disliked: Iterable[PictureSource] | None, history: History | None
) -> History:
    if history is not None:
        if liked is not None or disliked is not None:
            raise InputError("expected pictures or a history, got both")
        return history
    return history_from_items(liked, disliked, longest_px=max(READ_PX.values()))


def _check_call(pipe: Any, prompt: object, n: int, batch_size: int, sides: Sequence[int | None]) -> None:
    if not isinstance(prompt, str):
        raise InputError(
            f"expected one prompt, got {type(prompt).__name__}", hint="call once for each prompt and person"
        )
    if n < 1 or batch_size < 1:
        raise InputError(f"expected num_images_per_prompt and batch_size of 1 or more, got {n} and {batch_size}")
    for side in sides:
        if side is not None and (side < 8 or side % 8):
            raise ConfigError(f"expected a height and width in multiples of 8 pixels, got {side}")
