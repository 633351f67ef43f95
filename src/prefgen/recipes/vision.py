"""The picture side of CLIP: a stock vision tower that has to see everything a taste may turn on.

What `e_img`, the MLLM and every rival know of a picture passes through this tower, so it is trained by itself, longer
than CLIP needs for captions alone, against the frozen text tower. Three losses: the words a picture carries, each
family a choice; picture against caption (InfoNCE, as CLIP); and, for what has no word, hands. A group shows four hands
on eight subjects that share every word: a picture must find the other one by its hand among seven. Hands of most
groups differ in one look or trait only, so that none can be told by the easiest trait alone (ours; cf. style
contrast in arXiv 2404.01292).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from prefgen.agents import CONTINUOUS, LOOKS, SUBJECTS, Scene, is_reserved, random_scene
from prefgen.core import numpy_rng
from prefgen.recipes.autoencoder import as_batch
from prefgen.recipes.captions import training_caption
from prefgen.recipes.clip import info_nce_of_pairs, save_image_processor, vision_config
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.mllm_paint import paint_groups
from prefgen.recipes.mllm_people import N_PICTURES, people_pictures, scenes_of
from prefgen.recipes.picture_words import CHOICES, cached_words, words_in
from prefgen.recipes.pictures import scene_at
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import is_first, shared

N_HANDS = 4
PER_GROUP = 2 * N_HANDS
"""Pictures in a group: two by each hand."""
ONE_CHANGE_RATE = 0.75
"""Share of groups whose hands differ from the first in one look or trait; the others differ in all."""
CAPTION_WEIGHT, HAND_WEIGHT = 0.3, 2.0


def _trait_moved(rng: np.random.Generator, value: float) -> float:
    """A clearly different value of a continuous trait."""
    return float(np.clip(value + rng.uniform(0.6, 1.2) * (-1 if value > 0 else 1), -1, 1))


def another_hand(rng: np.random.Generator, scene: Scene, thing: str) -> Scene:
    """The scene with its look, or one trait, clearly changed."""
    if thing == "look":
        return scene.with_changes(look=str(rng.choice([v for v in (*LOOKS, "") if v != (scene.look or "")])) or None)
    return scene.with_changes(continuous={**scene.continuous, thing: _trait_moved(rng, scene.continuous[thing])})


def hands_at(index: int, split: str = "train", seed: int = 0) -> list[Scene]:
    """A group: pictures 2k and 2k + 1 are by hand k. Words are all shared, subjects all differ; a pure function."""
    rng = numpy_rng("hands", split, seed, index)
    base = random_scene(rng, seed_class=split, look_rate=0.6)
    hands = [base]
    things = [str(t) for t in rng.permutation(["look", *CONTINUOUS])]
    one_change = bool(rng.random() < ONE_CHANGE_RATE)
    for k in range(1, N_HANDS):
        if one_change:
            hands.append(another_hand(rng, base, things[k]))
        else:
            other = random_scene(rng, seed_class=split, look_rate=0.6)
            hands.append(base.with_changes(look=other.look, continuous=other.continuous))
    free = [s for s in SUBJECTS if not any(is_reserved(s, v) for v in base.values.values())]
    subjects = [str(s) for s in rng.permutation(free)[:PER_GROUP]]
    places = [random_scene(rng, seed_class=split) for _ in range(PER_GROUP)]
    return [
        hands[i // 2].with_changes(subject=subject, setting=place.setting, seed=place.seed)
        for i, (subject, place) in enumerate(zip(subjects, places))
    ]


def hand_loss(z: Tensor, log_scale: Tensor) -> Tensor:
    """InfoNCE within groups, `z` [n_groups, 8, d]: of the seven others each picture finds the one by its hand."""
    z = F.normalize(z.float(), dim=-1)
    logits = z @ z.transpose(1, 2) * log_scale.clamp(max=4.0).exp()
    logits = logits.masked_fill(torch.eye(PER_GROUP, dtype=torch.bool), -1e4)
    partner = torch.arange(PER_GROUP) ^ 1
    return F.cross_entropy(logits.flatten(0, 1), partner.repeat(len(z)))


class VisionTraining(nn.Module):
    """The tower and the heads that only training needs."""

    def __init__(self, tower: CLIPVisionModelWithProjection, d_text: int) -> None:
        super().__init__()
        d = tower.config.projection_dim
        self.tower: Any = tower
        self.word_heads = nn.ModuleList([nn.Linear(d, 1 + len(words)) for words in CHOICES.values()])
        self.caption_head = nn.Linear(d_text, d)
        self.hand_head = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.Linear(d, 128))
        self.caption_scale = nn.Parameter(torch.tensor(2.5))
        self.hand_scale = nn.Parameter(torch.tensor(2.5))

    def embed(self, pictures: np.ndarray) -> Tensor:
        """uint8 [n, h, w, 3] to image embeddings [n, d]."""
        return self.tower(pixel_values=as_batch(pictures)).image_embeds

    def losses(self, embeddings: Tensor, words: Tensor, captions: Tensor) -> dict[str, Tensor]:
        """`embeddings` [n, d] and `words` [n, n_choices] of one batch, its last pictures whole groups, its first ones
        those of `captions` [n_captions, d_text]."""
        told = sum(F.cross_entropy(head(embeddings).float(), words[:, k]) for k, head in enumerate(self.word_heads))
        caption = info_nce_of_pairs(embeddings[: len(captions)], self.caption_head(captions), self.caption_scale)
        grouped = embeddings[len(embeddings) // 2 :].unflatten(0, (-1, PER_GROUP))
        hands = hand_loss(self.hand_head(grouped), self.hand_scale)
        total = told + CAPTION_WEIGHT * caption + HAND_WEIGHT * hands
        return {"loss": total, "words": told, "caption": caption, "hands": hands}  # type: ignore[dict-item]


def new_tower(preset: Preset) -> CLIPVisionModelWithProjection:
    """An untrained tower, its embeddings as wide as the text tower's states."""
    return CLIPVisionModelWithProjection(vision_config(preset.vision_width, preset.vision_layers, preset.text_width))


def first_tower(c: Context) -> CLIPVisionModelWithProjection:
    """The tower as the training finds it: untrained, or the one of the model that is trained on."""
    if c.start is None:
        return new_tower(c.preset)
    return CLIPVisionModelWithProjection.from_pretrained(c.out / "image_encoder").train()


def group_pictures(c: Context, split: str) -> np.ndarray:
    """uint8 [n_groups, 8, 64, 64, 3], painted on first use."""
    p = c.preset
    n = p.vision_groups if split == "train" else max(8, p.vision_groups // 100)
    scenes = partial(hands_at, split=split, seed=p.seed)
    return paint_groups(c.work / "hands" / f"{split}.npy", scenes, n, PER_GROUP)


@torch.no_grad()
def tower_reading(module: VisionTraining, c: Context) -> dict[str, float]:
    """On validation pictures: how often each family's value is named, and how often the same hand is found of seven."""
    module.eval()
    pictures = c.pictures("validation")[:1000]
    words = torch.tensor([words_in(scene_at("validation", i, c.preset.seed)) for i in range(len(pictures))])
    seen = torch.cat([module.embed(pictures[i : i + 250]) for i in range(0, len(pictures), 250)])
    found: dict[str, float] = {}
    for k, name in enumerate(CHOICES):
        held = words[:, k] > 0
        right = (module.word_heads[k](seen).argmax(1) == words[:, k])[held]
        found[f"{name}_accuracy"] = float(right.float().mean()) if len(right) else 0.0
    groups = group_pictures(c, "validation")
    flat = groups.reshape(-1, *groups.shape[2:])
    z = torch.cat([module.hand_head(module.embed(flat[i : i + 256])) for i in range(0, len(flat), 256)])
    z = F.normalize(z, dim=-1).unflatten(0, (-1, PER_GROUP))
    nearest = (z @ z.transpose(1, 2) - 2 * torch.eye(PER_GROUP)).argmax(-1)
    found["same_hand_of_seven"] = float((nearest == (torch.arange(PER_GROUP) ^ 1)).float().mean())
    module.train()
    return found


class VisionBatches:
    """Pictures, their words and captions of a step: a quarter plain, a quarter people's, half groups of hands."""

    def __init__(self, c: Context) -> None:
        self.preset, cache = c.preset, c.work / "hands"
        p = c.preset
        self.plain, self.groups = c.pictures(), group_pictures(c, "train")
        self.people = people_pictures(c.work, "train", p.n_users)
        plain, people, groups = len(self.plain), len(self.people), len(self.groups)
        self.plain_words = cached_words(
            cache / "plain.words.npy", plain, lambda i: words_in(scene_at("train", i, p.seed))
        )
        self.people_words = cached_words(
            cache / "people.words.npy", people, lambda i: [words_in(s) for s in scenes_of(i)]
        )
        self.group_words = cached_words(
            cache / "groups.words.npy", groups, lambda i: [words_in(s) for s in hands_at(i, seed=p.seed)]
        )
        self.n_groups = p.vision_batch // (2 * PER_GROUP)
        self.n_single = self.n_groups * PER_GROUP // 2

    def at(self, step: int) -> tuple[np.ndarray, Tensor, list[str]]:
        """uint8 [n, 64, 64, 3], int64 [n, n_choices], and captions of the first `n_single`; a pure function."""
        rng = numpy_rng("vision", self.preset.seed, step)
        a = rng.integers(0, len(self.plain), self.n_single)
        b = rng.integers(0, len(self.people) * N_PICTURES, self.n_single)
        g = np.sort(rng.integers(0, len(self.groups), self.n_groups))
        a, person, slot = np.sort(a), b // N_PICTURES, b % N_PICTURES
        shown = [self.plain[a], self.people[person, slot], self.groups[g].reshape(-1, *self.plain.shape[1:])]
        told = [self.plain_words[a], self.people_words[person, slot], self.group_words[g].reshape(-1, len(CHOICES))]
        captions = [training_caption(scene_at("train", int(i), self.preset.seed), rng) for i in a]
        return np.concatenate(shown), torch.from_numpy(np.concatenate(told)).long(), captions


def train_vision(c: Context) -> None:
    """Trains the tower; saved as `image_encoder/` and `feature_extractor/`."""
    if (c.out / "image_encoder" / "config.json").exists() and not c.begins_again("vision"):
        return
    p = c.preset
    torch.manual_seed(p.seed)
    text = TextEncoding(c.out)
    module, batches = VisionTraining(first_tower(c), p.text_width), VisionBatches(c)

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        pictures, words, captions = batches.at(step)
        return module.losses(shared(module.embed, pictures), words, shared(text.pooled, captions))

    settings = LoopSettings(
        n_samples=p.vision_samples,
        batch_size=2 * batches.n_groups * PER_GROUP,
        learning_rate=p.vision_rate,
        warmup_samples=min(20_000, p.vision_samples // 10),
        ema_decay=0.999,
        weight_decay=0.05,
        decay_fraction=0.3,
        show_every=200_000,
        seed=p.seed,
    )
    loop = Loop("vision", c.work, module, loss, settings, lambda m, _: tower_reading(module, c))
    loop.run(c.deadline)
    loop.use_ema()
    if not is_first():
        return
    save_image_processor(c.out)
    module.tower.eval().save_pretrained(c.out / "image_encoder")
