"""The judge: reads a picture's subject, setting, worded values, look and wordless traits.

Two judges exist, of different architecture and trained on different pictures: choices are made with `validation`,
figures are read with `test`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from prefgen.agents import CONTINUOUS, FAMILIES, LOOKS, SETTINGS, SUBJECTS
from prefgen.benchmark.judge_networks import Architecture, JudgeNetwork
from prefgen.core import ModelError

NONE = "none"
CLASSES: dict[str, tuple[str, ...]] = {
    "subject": SUBJECTS,
    "setting": (*SETTINGS, NONE),
    **{family: (*values, NONE) for family, values in FAMILIES.items()},
    "look": (*LOOKS, NONE),
}
"""What each head may answer, in the order of its probabilities."""

TRAITS = "traits"
CONTENT_HEADS = ("subject", "setting")
BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a judge sees in n pictures.

    `classes` maps each head of `CLASSES` to float [n, n_classes], rows summing to 1; `traits` float [n, 6] in the order
    of `CONTINUOUS`. Of the `features`, float [n, d], that all heads read, `structure` float [n, d] is the part that no
    attribute head can see, and `style` float [n, r] is what attribute heads read and those of subject and setting do
    not.
    """

    classes: Mapping[str, np.ndarray]
    traits: np.ndarray
    features: np.ndarray
    structure: np.ndarray
    style: np.ndarray

    def __len__(self) -> int:
        return len(self.traits)

    def rows(self, index: np.ndarray | slice | Sequence[int]) -> Reading:
        """Some of the pictures."""
        return Reading(
            classes={name: p[index] for name, p in self.classes.items()},
            traits=self.traits[index],
            features=self.features[index],
            structure=self.structure[index],
            style=self.style[index],
        )

    def probability(self, head: str, values: Sequence[str]) -> np.ndarray:
        """float [n]: the probability that the head's answer is one of `values`."""
        return self.classes[head][:, [CLASSES[head].index(v) for v in values]].sum(1)

    def answers(self, head: str) -> list[str]:
        """The likeliest answer for each picture."""
        return [CLASSES[head][i] for i in self.classes[head].argmax(1)]

    def trait(self, name: str) -> np.ndarray:
        """float [n]: one trait as seen."""
        return self.traits[:, CONTINUOUS.index(name)]


class PictureJudge(Protocol):
    """Whatever reads pictures."""

    def read(self, images: np.ndarray) -> Reading:
        """uint8 [n, 64, 64, 3] to a reading."""
        ...


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Size of a judge, and the answers its heads were trained for."""

    architecture: Architecture
    width: int
    d_features: int = 256
    classes: Mapping[str, tuple[str, ...]]
    traits: tuple[str, ...] = CONTINUOUS


def judge_config(architecture: Architecture, width: int, d_features: int = 256) -> JudgeConfig:
    """The configuration of a judge of today's vocabulary."""
    return JudgeConfig(architecture=architecture, width=width, d_features=d_features, classes=CLASSES)


def new_network(config: JudgeConfig) -> JudgeNetwork:
    """An untrained network."""
    heads = {name: len(values) for name, values in config.classes.items()} | {TRAITS: len(config.traits)}
    return JudgeNetwork(config.architecture, config.width, config.d_features, heads)


def as_input(images: np.ndarray) -> Tensor:
    """uint8 [n, 64, 64, 3] to float32 [n, 3, 64, 64] in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _span(columns: Tensor) -> Tensor:
    """An orthonormal basis [d, rank] of the space of the columns [d, n]."""
    u, s, _ = torch.linalg.svd(columns, full_matrices=False)
    return u[:, s > 1e-4 * s[0]]


class Judge:
    """A trained network and what it was trained for.

    >>> judge = Judge(new_network(judge_config("residual", 8)), judge_config("residual", 8))
    >>> judge.read(np.zeros((2, 64, 64, 3), np.uint8)).traits.shape
    (2, 6)
    """

    def __init__(self, network: JudgeNetwork, config: JudgeConfig) -> None:
        self.network = network.eval()
        self.config = config

    @cached_property
    def _seen_by_attributes(self) -> Tensor:
        """An orthonormal basis [d_features, rank] of all that heads of values, look and traits read."""
        return self._basis_of([name for name in self.network.heads if name not in CONTENT_HEADS])

    @cached_property
    def _style(self) -> Tensor:
        """An orthonormal basis [d_features, r] of what attribute heads read, less all that subject and setting do."""
        content = self._basis_of(CONTENT_HEADS)
        return _span(self._seen_by_attributes - content @ (content.T @ self._seen_by_attributes))

    def _basis_of(self, names: Sequence[str]) -> Tensor:
        heads = [self.network.heads[name] for name in names]
        return _span(torch.cat([h.weight.detach().float() for h in heads if isinstance(h, torch.nn.Linear)]).T)

    @torch.no_grad()
    def read(self, images: np.ndarray) -> Reading:
        """Reads uint8 [n, 64, 64, 3]."""
        parts = [self._read_batch(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
        return joined_readings(parts)

    def _read_batch(self, images: np.ndarray) -> Reading:
        features = self.network.embed(as_input(images)).float()
        logits = {name: head(features) for name, head in self.network.heads.items()}
        basis = self._seen_by_attributes
        return Reading(
            classes={name: logits[name].softmax(-1).numpy() for name in CLASSES},
            traits=logits[TRAITS].numpy(),
            features=features.numpy(),
            structure=(features - features @ basis @ basis.T).numpy(),
            style=(features @ self._style).numpy(),
        )

    def save(self, folder: Path | str) -> None:
        """Writes `config.json` and `model.safetensors` (fp16; counters keep their type)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=1) + "\n")
        state = {k: v.detach().contiguous() for k, v in self.network.state_dict().items()}
        half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        save_file(half, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path | str) -> Judge:
        """The inverse of `save`. Raises `ModelError` for missing files or a judge of another vocabulary."""
        folder = Path(folder)
        try:
            raw = json.loads((folder / "config.json").read_text())
            classes = {name: tuple(values) for name, values in raw["classes"].items()}
            config = JudgeConfig(**{**raw, "classes": classes, "traits": tuple(raw["traits"])})
            network = new_network(config)
            state = load_file(folder / "model.safetensors")
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"expected a judge in {folder}, got {error}", hint="prefgen train --only judges"
            ) from error
        if config.classes != CLASSES or config.traits != CONTINUOUS:
            raise ModelError(
                f"expected a judge of today's vocabulary in {folder}, got one of another",
                hint="train the judges again: prefgen train --only judges",
            )
        return cls(network, config)


def joined_readings(parts: Sequence[Reading]) -> Reading:
    """One reading of all the pictures of several."""
    if not parts:
        return Reading(
            classes={name: np.zeros((0, len(v)), np.float32) for name, v in CLASSES.items()},
            traits=np.zeros((0, len(CONTINUOUS)), np.float32),
            features=np.zeros((0, 1), np.float32),
            structure=np.zeros((0, 1), np.float32),
            style=np.zeros((0, 1), np.float32),
        )
    return Reading(
        classes={name: np.concatenate([p.classes[name] for p in parts]) for name in CLASSES},
        traits=np.concatenate([p.traits for p in parts]),
        features=np.concatenate([p.features for p in parts]),
        structure=np.concatenate([p.structure for p in parts]),
        style=np.concatenate([p.style for p in parts]),
    )
