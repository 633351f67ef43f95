"""A painter and a judge who agree on a code: a picture's pixels spell what it shows, and the judge reads them off."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from prefgen.adapter import UserTokens
from prefgen.agents import CONTINUOUS, Person, Scene, Taste
from prefgen.benchmark.judge import CLASSES, CONTENT_HEADS, NONE, Reading
from prefgen.benchmark.population import Member
from prefgen.core import History
from prefgen.pipeline.explanation import Explanation, Word
from tiny_diffusion import D_CROSS, N_TOKENS, tiny_pipeline, trained_adapter

HEADS = list(CLASSES)


def planted(scene: Scene) -> np.ndarray:
    """uint8 [64, 64, 3] whose first row holds a class index per head, then the traits."""
    picture = np.zeros((64, 64, 3), np.uint8)
    told = {"subject": scene.subject, "setting": scene.setting, "look": scene.look, **scene.values}
    for i, head in enumerate(HEADS):
        picture[0, i] = CLASSES[head].index(told.get(head) or NONE)
    for j, trait in enumerate(CONTINUOUS):
        picture[1, j] = round(127.5 * (1 + scene.continuous.get(trait, 0.0)))
    picture[2:] = scene.seed % 251
    return picture


class FakeJudge:
    """Reads planted pictures without error; any other picture gives some answer."""

    def __init__(self) -> None:
        self.n_read = 0

    def read(self, images: np.ndarray) -> Reading:
        """uint8 [n, 64, 64, 3] to a reading with probabilities 0 and 1."""
        self.n_read += len(images)
        classes = {
            head: np.eye(len(CLASSES[head]))[images[:, 0, i, 0].astype(int) % len(CLASSES[head])]
            for i, head in enumerate(HEADS)
        }
        traits = images[:, 1, : len(CONTINUOUS), 0] / 127.5 - 1
        structure = images[:, 2, :4, 0].astype(float)
        style = np.concatenate([*(p for h, p in classes.items() if h not in CONTENT_HEADS), traits], 1)
        features = np.concatenate([*classes.values(), traits, structure / 255], 1)
        return Reading(classes=classes, traits=traits, features=features, structure=structure, style=style)


def reading_of(*scenes: Scene) -> Reading:
    """What the fake judge sees in scenes."""
    return FakeJudge().read(np.stack([planted(s) for s in scenes]))


def simple_taste(**changes) -> Taste:
    """A taste with one liked and disliked palette, a liked medium, a look of each side and a trait."""
    values = {
        "likes": {"palette": ("gold",), "medium": ("mosaic",)},
        "dislikes": {"palette": ("teal",)},
        "looks_liked": ("look-1",),
        "looks_disliked": ("look-2",),
        "traits": {"size": (0.8, -0.8)},
    }
    return Taste(**{**values, **changes})


def member_of(person: Person) -> Member:
    """A member of the test split."""
    return Member(person=person, split="test")


class _Side:
    def __init__(self, projector: torch.nn.Module) -> None:
        self.projector = projector


class _ImageEmbeds:
    def __init__(self, image_embeds: torch.Tensor) -> None:
        self.image_embeds = image_embeds


class FakeImageEncoder(torch.nn.Module):
    """Mean colour as an embedding of width 3."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.config = type("Config", (), {"image_size": 64})()

    def forward(self, pixel_values: torch.Tensor) -> _ImageEmbeds:
        """[n, 3, h, w] to [n, 3]."""
        return _ImageEmbeds(pixel_values.mean((2, 3)))


class FakeChain:
    """A tiny random pipeline with a trained-like adapter; a profile is the mean colour of each side."""

    def __init__(self) -> None:
        from prefgen.alignment import Projector

        torch.manual_seed(5)
        self.pipe = tiny_pipeline()
        self.adapter = trained_adapter(self.pipe.unet)
        self.image_encoder = FakeImageEncoder()
        self.projectors = {side: Projector(9, D_CROSS, N_TOKENS).eval() for side in ("like", "dislike")}
        self.user_encoder = self.mllm = self

    def side(self, name: str) -> _Side:
        """The encoder of one side, as `UserEncoder.side`."""
        return _Side(self.projectors[name])

    def profile(self, liked: list[Image.Image] = (), disliked: list[Image.Image] = ()) -> dict[str, np.ndarray]:  # type: ignore[assignment]
        """Mean colours."""
        return {
            name: np.mean([np.asarray(p).mean((0, 1)) for p in side] or [np.full(3, 127.0)], axis=0)
            for name, side in (("like", liked), ("dislike", disliked))
        }

    @torch.no_grad()
    def embed(self, profile: dict[str, np.ndarray]) -> UserTokens:
        """Tokens through the projectors; the three parts carry the same colour."""
        rows = {k: torch.tensor(np.tile(v, 3)[None], dtype=torch.float32) / 255 for k, v in profile.items()}
        return UserTokens(
            like=self.projectors["like"](rows["like"]), dislike=self.projectors["dislike"](rows["dislike"])
        )

    def explain(self, profile: dict[str, np.ndarray]) -> Explanation:
        """Each side's strongest colour channel, and a second one, in words of palettes."""
        names = ("crimson", "emerald", "azure")
        sides = {side: [names[int(k)] for k in np.argsort(-profile[side])[:2]] for side in ("like", "dislike")}
        return Explanation(
            likes=tuple(Word(word=w, weight=0.5, confidence=0.5) for w in sides["like"]),
            dislikes=tuple(Word(word=w, weight=0.5, confidence=0.5) for w in sides["dislike"]),
        )

    def score_history(self, history: History, images: list[Image.Image]) -> list[float]:
        """`score` of what the history shows."""
        return self.score(history, images)

    def score(self, profile: dict[str, np.ndarray] | History, images: list[Image.Image]) -> list[float]:
        """Nearer in colour to the likes than to the dislikes; undecided if told nothing."""
        if isinstance(profile, History):
            if not len(profile):
                return [0.5] * len(images)
            profile = self.profile([i.image for i in profile.liked], [i.image for i in profile.disliked])
        colours = [np.asarray(p).mean((0, 1)) for p in images]
        gaps = [np.linalg.norm(c - profile["dislike"]) - np.linalg.norm(c - profile["like"]) for c in colours]
        return [float(1 / (1 + np.exp(-g / 20))) for g in gaps]
