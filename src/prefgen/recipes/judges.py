"""Both judges: trained on paintings of their own, on the autoencoder's reconstructions, lightly blurred and noised.

The report `attributes.json` names every value's accuracy; one that a judge cannot tell does not belong in the
vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prefgen.agents import CONTINUOUS, FAMILIES, LOOKS, SETTINGS, SUBJECTS, Scene, is_reserved, paint, random_scene
from prefgen.benchmark.judge import CLASSES, NONE, TRAITS, Judge, JudgeConfig, as_input, judge_config, new_network
from prefgen.benchmark.judge_networks import Architecture, JudgeNetwork
from prefgen.core import ConfigError, numpy_rng
from prefgen.recipes.checkpoint import save_json
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.pictures import paint_pictures, scene_at
from prefgen.recipes.ranks import by_turns, is_first

LEAST_ON_PAINTINGS, LEAST_ON_RECONSTRUCTIONS = 0.95, 0.90
"""A value stays in the vocabulary only if the judge tells it this often."""

RECONSTRUCTED_SHARE = 1 / 3
TRAIT_LOSS = 2.0
VALIDATION_PICTURES = 512


@dataclass(frozen=True, kw_only=True)
class JudgeRecipe:
    """What makes a judge: its folder's name, the painter seeds it learns from, and its architecture."""

    name: str
    split: str
    architecture: Architecture
    width: int


RECIPES: tuple[JudgeRecipe, ...] = (
    JudgeRecipe(name="validation", split="judge", architecture="residual", width=48),
    JudgeRecipe(name="test", split="test_judge", architecture="convnext", width=96),
)


def judges_folder(c: Context) -> Path:
    """Where the judges are saved: beside the model."""
    return c.out.parent / "judges"


def targets_of(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Head to class index int64 [n]; `traits` to float32 [n, 6]."""

    def answer(scene: Scene, head: str) -> str:
        if head == "subject":
            return scene.subject
        if head == "setting":
            return scene.setting or NONE
        return (scene.look if head == "look" else scene.values.get(head)) or NONE

    targets = {head: torch.tensor([values.index(answer(s, head)) for s in scenes]) for head, values in CLASSES.items()}
    traits = [[s.continuous.get(t, 0.0) for t in CONTINUOUS] for s in scenes]
    return targets | {TRAITS: torch.tensor(traits, dtype=torch.float32)}


def reading_loss(logits: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Cross-entropy of every head (sum) and squared error of the traits."""
    answers = torch.stack([F.cross_entropy(logits[head].float(), targets[head]) for head in CLASSES]).sum()
    traits = F.mse_loss(logits[TRAITS].float(), targets[TRAITS])
    return {"loss": answers + TRAIT_LOSS * len(CONTINUOUS) * traits, "answers": answers, "traits": traits}


def roughened(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Blurs a third of the pictures a little and adds slight noise to another third. [n, 3, h, w] in [-1, 1]."""
    n = len(pictures)
    draw, strength = torch.rand(n, generator=generator), torch.rand(n, 1, 1, 1, generator=generator)
    noise = torch.randn(pictures.shape, generator=generator)
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pick = draw[:, None, None, None]
    out = torch.where(pick < 1 / 3, torch.lerp(pictures, blurred, 0.7 * strength), pictures)
    return torch.where((pick >= 1 / 3) & (pick < 2 / 3), out + 0.06 * strength * noise, out)


@torch.no_grad()
def reconstructed(c: Context, pictures: np.ndarray) -> np.ndarray:
    """uint8 [n, 64, 64, 3]: pictures through the model's autoencoder."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from prefgen.benchmark.methods.painter import through_autoencoder

    if not (c.out / "vae" / "config.json").exists():
        raise ConfigError("expected the model's autoencoder before the judges", hint="run the stage autoencoder first")
    return through_autoencoder(AutoencoderKL.from_pretrained(c.out / "vae").eval(), pictures, batch=64)


@by_turns
def cached_reconstructions(c: Context, split: str, pictures: np.ndarray) -> np.ndarray:
    """The first third of a split's pictures, reconstructed on first use and memory-mapped."""
    path, part = c.work / f"reconstructions.{split}.npy", c.work / f"reconstructions.{split}.part.npy"
    n = max(1, int(len(pictures) * RECONSTRUCTED_SHARE))
    if not path.exists() or len(np.load(path, mmap_mode="r")) != n:
        np.save(part, reconstructed(c, pictures[:n]))
        part.rename(path)
    return np.load(path, mmap_mode="r")


def train_judges(c: Context) -> None:
    """Trains both judges, saves them beside the model and writes `attributes.json`."""
    folder = judges_folder(c)
    lacking = [
        r for r in RECIPES if not (folder / r.name / "config.json").exists() or c.begins_again(f"judge-{r.name}")
    ]
    for recipe in lacking:
        _train_judge(c, recipe, folder / recipe.name)
    if is_first() and (lacking or not (folder / "attributes.json").exists()):
        report = attribute_report(c, {r.name: Judge.load(folder / r.name) for r in RECIPES})
        save_json(folder / "attributes.json", report)
        for value in report["failing"]:
            c.say(f"judges: {value} is not told often enough")


def _train_judge(c: Context, recipe: JudgeRecipe, folder: Path) -> None:
    p = c.preset
    torch.manual_seed(p.seed)
    config = judge_config(recipe.architecture, recipe.width if p.name != "tiny" else 16)
    untrained = c.start is None or not (folder / "config.json").exists()
    network = new_network(config) if untrained else Judge.load(folder).network.train()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pictures = paint_pictures(c.work / "pictures", recipe.split, p.judge_pictures, p.seed)
    rebuilt = cached_reconstructions(c, recipe.split, pictures)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rng = numpy_rng("judge", recipe.name, p.seed, step)
        index = np.sort(rng.integers(0, len(pictures), p.judge_batch))
        use_rebuilt = (index < len(rebuilt)) & (rng.random(len(index)) < 0.8)
        batch = np.where(
            use_rebuilt[:, None, None, None], rebuilt[np.minimum(index, len(rebuilt) - 1)], pictures[index]
        )
        scenes = [scene_at(recipe.split, int(i), p.seed) for i in index]
        rough = roughened(as_input(batch), generator).contiguous(memory_format=torch.channels_last)
        return reading_loss(network(rough), targets_of(scenes))

    settings = LoopSettings(
        n_samples=p.judge_samples,
        batch_size=p.judge_batch,
        learning_rate=p.judge_rate,
        weight_decay=0.02,
        decay_fraction=0.5,
    )
    loop = Loop(f"judge-{recipe.name}", c.work, network, loss, settings, lambda m, _: _accuracies(m, config, c))
    loop.run(c.deadline)
    if is_first():
        Judge(network, config).save(folder)


def _accuracies(network: nn.Module, config: JudgeConfig, c: Context) -> dict[str, float]:
    """Accuracy per head and mean absolute error of the traits, on fresh paintings."""
    assert isinstance(network, JudgeNetwork)
    n = min(VALIDATION_PICTURES, len(c.pictures("validation")))
    reading = Judge(network, config).read(c.pictures("validation")[:n])
    targets = targets_of([scene_at("validation", i, c.preset.seed) for i in range(n)])
    right = {h: float((reading.classes[h].argmax(1) == targets[h].numpy()).mean()) for h in CLASSES}
    errors = np.abs(reading.traits - targets[TRAITS].numpy()).mean(0)
    return right | {f"{t}_error": float(e) for t, e in zip(CONTINUOUS, errors)}


def scene_showing(head: str, value: str, index: int, seed: int = 0) -> Scene:
    """A fresh scene that shows a value, among at most three other worded families."""
    rng = numpy_rng("attribute test", head, value, index, seed)
    scene = random_scene(rng, seed_class="attributes")
    if head == "subject":
        scene = replace(scene, subject=value)
    elif head == "setting":
        scene = replace(scene, setting=value)
    elif head == "look":
        scene = replace(scene, look=value)
    else:
        free = [s for s in SUBJECTS if not is_reserved(s, value)]
        scene = replace(scene, subject=str(rng.choice(free)), values={**scene.values, head: value})
    others = [str(f) for f in rng.permutation([f for f in scene.values if f != head])[:3]]
    kept = [f for f in scene.values if f == head or f in others]
    return replace(scene, values={f: scene.values[f] for f in kept})


def attribute_report(c: Context, judges: dict[str, Judge]) -> dict[str, Any]:
    """Every value's accuracy with every judge, on paintings and on reconstructions, and the names of those that fail.

    Only worded values and looks can fail: they are what the vocabulary promises. A value fails if any judge misses a
    bound.
    """
    n = c.preset.judge_per_value
    tested = {
        "subject": SUBJECTS,
        "setting": SETTINGS,
        **FAMILIES,
        "look": LOOKS,
    }
    report: dict[str, Any] = {"n_per_value": n, "values": {}, "failing": []}
    for head, values in tested.items():
        scenes = [scene_showing(head, value, i, c.preset.seed) for value in values for i in range(n)]
        pictures = np.stack([paint(s) for s in scenes])
        entries: dict[str, dict[str, Any]] = {value: {"family": head} for value in values}
        for where, shown in (("paintings", pictures), ("reconstructions", reconstructed(c, pictures))):
            for name, judge in judges.items():
                told = judge.read(shown).answers(head)
                for k, value in enumerate(values):
                    right = [answer == value for answer in told[k * n : (k + 1) * n]]
                    entries[value][f"{where}_{name}"] = float(np.mean(right))
        report["values"] |= entries
        if head not in ("subject", "setting"):
            report["failing"] += [value for value, entry in entries.items() if _fails(entry)]
    return report


def _fails(entry: dict[str, Any]) -> bool:
    bounds = {"paintings": LEAST_ON_PAINTINGS, "reconstructions": LEAST_ON_RECONSTRUCTIONS}
    return any(entry[key] < bound for where, bound in bounds.items() for key in entry if key.startswith(where))
