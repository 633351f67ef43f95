"""Simulated people in any number, as a source like every other: profiles sampled or written, pictures painted.

The paper's agents: about 50,000 people whose pictures are painted in pairs of one prompt, once with liked, once with
disliked attributes. Profiles come from the package's own population or a language model, pictures from the procedural
painter or any text-to-image pipeline of diffusers, which reads the picture's caption. A person is a pure function of
seed and number, a picture of its scene's seed; so a shard, or a run that goes on, paints what the whole run would.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from PIL import Image

from prefgen.agents import Dials, Person, Scene, Shown, attribute_string, caption_of, history_of, paint, prompt_of
from prefgen.agents.people import training_person
from prefgen.agents.profiles import person_of
from prefgen.agents.writers import Writer, written_taste
from prefgen.core import ConfigError, ModelError, Side, torch_generator
from prefgen.history.collect import Batch, Entry, Seen
from prefgen.pipeline.loading import dtype_named

DAYS = 30
"""Days from a history's first to its last picture."""


class Painter(Protocol):
    """Paints scenes."""

    @property
    def free_words(self) -> bool:
        """Whether it understands words outside the package's vocabulary."""
        ...

    def describe(self) -> dict[str, object]:
        """What paints, as JSON."""
        ...

    def paint(self, scenes: Sequence[Scene]) -> list[Image.Image]:
        """One picture a scene."""
        ...


@dataclass(frozen=True, kw_only=True)
class ProceduralPainter:
    """The package's own painter: nothing to load, every trait under control. `side_px` is the pictures' side."""

    side_px: int = 64
    free_words: bool = False

    def describe(self) -> dict[str, object]:
        """Its name and side."""
        return {"painter": "procedural", "side_px": self.side_px}

    def paint(self, scenes: Sequence[Scene]) -> list[Image.Image]:
        """One picture a scene."""
        return [Image.fromarray(paint(scene, self.side_px)) for scene in scenes]


class DiffusersPainter:
    """A text-to-image pipeline of diffusers by folder or hub name, in batches; each picture has its scene's seed."""

    free_words = True

    def __init__(
        self,
        name: str,
        *,
        side_px: int = 512,
        n_steps: int = 30,
        guidance: float | None = None,
        batch_size: int = 4,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        from diffusers.pipelines.pipeline_utils import DiffusionPipeline

        numbers = dtype_named(dtype)
        try:
            pipe: Any = DiffusionPipeline.from_pretrained(name, torch_dtype=numbers, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise ModelError(f"{name} cannot be loaded as a pipeline: {str(error).splitlines()[0]}") from error
        pipe.set_progress_bar_config(disable=True)
        self.pipe, self.name, self.batch_size = pipe.to(device), name, batch_size
        self.settings: dict[str, Any] = {"num_inference_steps": n_steps, "height": side_px, "width": side_px}
        if guidance is not None:
            self.settings["guidance_scale"] = guidance

    def describe(self) -> dict[str, object]:
        """The pipeline's name and settings."""
        name = self.name.rstrip("/").rsplit("/", 1)[-1]
        return {"painter": name, **self.settings, "batch_size": self.batch_size}

    def paint(self, scenes: Sequence[Scene]) -> list[Image.Image]:
        """One picture a scene, of its caption."""
        pictures: list[Image.Image] = []
        for start in range(0, len(scenes), self.batch_size):
            some = scenes[start : start + self.batch_size]
            generators = [torch_generator("agents' picture", scene.seed) for scene in some]
            made = self.pipe(prompt=[caption_of(scene) for scene in some], generator=generators, **self.settings)
            pictures += made.images
        return pictures


@dataclass(frozen=True, kw_only=True)
class AgentPeople:
    """`n_people` simulated people, or of these every `n_shards`-th from `shard` (counted from 0) on."""

    n_people: int
    painter: Painter = field(default_factory=ProceduralPainter)
    writer: Writer | None = None
    dials: Dials = field(default_factory=Dials)
    seed: int = 0
    shard: int = 0
    n_shards: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.shard < self.n_shards:
            raise ConfigError(f"expected a shard from 0 to {self.n_shards - 1}, got {self.shard}")

    def describe(self) -> dict[str, object]:
        """Everything that decides who is who."""
        writer = {"writer": "sampled"} if self.writer is None else self.writer.describe()
        told = {"n_people": self.n_people, "seed": self.seed, "shard": self.shard, "n_shards": self.n_shards}
        return {"kind": "agents", **told, **writer, **self.painter.describe(), "dials": asdict(self.dials)}

    def batches(self, done: Mapping[str, int]) -> Iterator[Batch]:
        """A person at a time."""
        for index in range(self.shard, self.n_people, self.n_shards):
            part = f"agent {index}"
            if part not in done:
                entries = self._entries(self.person(index))
                yield Batch(part=part, n_done=len(entries), entries=entries)

    def person(self, index: int) -> Person:
        """The index-th person: sampled, or of a taste that the writer invents."""
        identity = f"agent-{self.seed}-{index:06d}"
        if self.writer is None:
            sampled = training_person(index, f"agents.{self.seed}", self.dials)
            return replace(sampled, id=identity)
        taste = written_taste(self.writer, identity, free_words=self.painter.free_words)
        return person_of(identity, taste, self.dials)

    def _entries(self, person: Person) -> tuple[Entry, ...]:
        shown = history_of(person, seed_class="train")
        pictures = self.painter.paint([one.scene for one in shown])
        words = (attribute_string(person, liked=False), attribute_string(person, liked=True))
        return tuple(
            Entry(user_id=person.id, seen=(_seen(one, picture),), attributes=words)
            for one, picture in zip(shown, pictures)
        )


def _seen(shown: Shown, picture: Image.Image) -> Seen:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG")
    side: Side = "like" if shown.liked else "dislike"
    return Seen(picture=file.getvalue(), side=side, prompt=prompt_of(shown.scene), time=shown.time * DAYS * 86_400)
