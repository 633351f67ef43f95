"""MLLM pretraining: the vision tower and the language model learn from painted pictures what a picture shows.

Captions, questions on one picture, and comparisons of two. What has no word (looks, traits) is taught without one:
a twin shares every value, look and trait of a picture but neither subject nor seed; a third picture differs from the
twin in one of them only, and the question is which of the two is by the first one's hand.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prefgen.agents import (
    CONTINUOUS,
    FAMILIES,
    SETTINGS,
    SUBJECTS,
    Scene,
    all_values,
    caption_of,
    is_reserved,
    prompt_of,
    random_scene,
)
from prefgen.core import numpy_rng, seed_of
from prefgen.mllm import (
    Branch,
    ChatFrame,
    Pack,
    answer_log_likelihoods,
    answer_loss,
    chat_frame,
    new_idefics2,
    new_processor,
    pack,
    run_packed,
    train_tokenizer,
)
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.mllm_paint import paint_groups
from prefgen.recipes.mllm_texts import tokenizer_texts
from prefgen.recipes.pictures import scene_at
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import is_first, over_ranks, own, shared
from prefgen.recipes.vision import CHOICES, another_hand, words_in

DESCRIBE = " Describe this image."
WHAT = " What is in this image?"
SAME_HAND = " Which image is by the hand of the first, the second or the third?"
SHARED = " What do these images share?"
PLAIN = "plain"


def family_question(family: str) -> str:
    """The question for one family's value."""
    return f" What is its {family}?"


def changed_in_one(rng: np.random.Generator, scene: Scene) -> Scene:
    """The scene with one value, look or trait replaced by a clearly different one."""
    kinds = ["look", "trait"] + ["value"] * (2 if scene.values else 0)
    kind = str(rng.choice(kinds))
    if kind == "value":
        family = str(rng.choice(list(scene.values)))
        free = [v for v in FAMILIES[family] if v != scene.values[family] and not is_reserved(scene.subject, v)]
        return scene.with_changes(values={**scene.values, family: str(rng.choice(free))})
    return another_hand(rng, scene, "look" if kind == "look" else str(rng.choice(CONTINUOUS)))


def twins_at(index: int, split: str = "train", seed: int = 0) -> tuple[Scene, Scene, Scene]:
    """A picture, its twin by the same hand, and the twin changed in one thing; a pure function of its arguments."""
    rng = numpy_rng("twins", split, seed, index)
    first = random_scene(rng, seed_class=split)
    twin_prompt = random_scene(rng, seed_class=split)
    free = [s for s in SUBJECTS if s != first.subject and not any(is_reserved(s, v) for v in first.values.values())]
    twin = first.with_changes(
        subject=str(rng.choice(free or [first.subject])), setting=twin_prompt.setting, seed=twin_prompt.seed
    )
    other = changed_in_one(rng, twin).with_changes(seed=random_scene(rng, seed_class=split).seed)
    return first, twin, other


def full_caption(scene: Scene) -> str:
    """The caption with every value in the vocabulary's order."""
    return caption_of(scene, FAMILIES) + "."


def picture_pack(rng: np.random.Generator, scene: Scene, key: int) -> Pack:
    """What is asked of one picture: its description, one part of it, and a Yes/No question."""
    family = str(rng.choice(list(FAMILIES)))
    part = Branch(question=[family_question(family)], answer=f"{scene.values.get(family, PLAIN)}.", kind="part")
    if rng.random() < 0.25:
        part = Branch(question=[WHAT], answer=f"{prompt_of(scene)}.", kind="part")
    true = bool(rng.random() < 0.5) and bool(scene.values)
    shown = list(scene.values.values())
    word = str(rng.choice(shown if true else [v for v in all_values() if v not in shown]))
    is_it = Branch(question=[f" Is it {word}?"], answer="Yes." if true else "No.", kind="is")
    return Pack(
        history=[key], branches=(Branch(question=[DESCRIBE], answer=full_caption(scene), kind="caption"), part, is_it)
    )


def twin_pack(rng: np.random.Generator, scenes: tuple[Scene, Scene, Scene], keys: tuple[int, int, int]) -> Pack:
    """Which of two pictures is by the first one's hand, and what a pair has in common."""
    first = scenes[0]
    swapped = bool(rng.random() < 0.5)
    pair = [keys[2], keys[1]] if swapped else [keys[1], keys[2]]
    hand = Branch(question=[*pair, SAME_HAND], answer="Third." if swapped else "Second.", kind="hand")
    which = int(rng.integers(2))
    shared = [
        first.values[f] for f in FAMILIES if f in first.values and scenes[1 + which].values.get(f) == first.values[f]
    ]
    common = Branch(
        question=[keys[1 + which], SHARED], answer=f"{', '.join(shared) or 'nothing in words'}.", kind="shared"
    )
    return Pack(history=[keys[0]], branches=(hand, common))


class Pretraining(nn.Module):
    """The model in training, with throw-away heads on the image tokens: for the twins' contrast, and for the words.

    The heads make the connector carry over what the tower sees; from the language model's answers alone it kept half.
    """

    def __init__(self, model: Any, n_image_tokens: int, width: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(n_image_tokens * width, 96)
        self.word_heads = nn.ModuleList(
            [nn.Linear(n_image_tokens * width, 1 + len(words)) for words in CHOICES.values()]
        )

    def word_loss(self, tokens: Tensor, scenes: list[Scene]) -> Tensor:
        """Cross-entropy of every picture's words, summed over `CHOICES`; `tokens` [n, n_tokens, width]."""
        words = torch.tensor([words_in(scene) for scene in scenes])
        read = tokens.flatten(1)
        return torch.stack(
            [F.cross_entropy(head(read).float(), words[:, k]) for k, head in enumerate(self.word_heads)]
        ).sum()

    def features(self, pictures: np.ndarray) -> Tensor:
        """uint8 [n, h, w, 3] to image tokens [n, n_tokens, width]."""
        return image_tokens(self.model, pictures)


def image_tokens(model: Any, pictures: np.ndarray) -> Tensor:
    """uint8 [n, h, w, 3] to image tokens [n, n_tokens, width], as the processor would hand them in."""
    pixels = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return torch.stack(tuple(model.model.get_image_features(pixels[:, None]).pooler_output))


def twin_contrast(head: nn.Linear, tokens: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE: a picture finds its twin among all twins and all changed ones. `tokens` [n, 3, n_tokens, width]."""
    z = F.normalize(head(tokens.flatten(2)).float(), dim=-1)
    logits = z[:, 0] @ torch.cat([z[:, 1], z[:, 2]]).T / temperature
    return F.cross_entropy(logits, torch.arange(len(z)))


def new_mllm(preset: Preset) -> tuple[Any, Any]:
    """An untrained model and its processor, tokenizer trained on the conversations' texts."""
    tokenizer = train_tokenizer(tokenizer_texts(), preset.mllm_vocabulary)
    processor = new_processor(tokenizer, n_image_tokens=preset.mllm_image_tokens, side_px=64)
    model = new_idefics2(
        processor,
        width=preset.mllm_width,
        n_layers=preset.mllm_layers,
        vision_width=preset.mllm_vision_width,
        vision_layers=preset.mllm_vision_layers,
        side_px=64,
        patch_px=8,
        seed=preset.seed,
    )
    return model, processor


@torch.no_grad()
def start_from_clip(model: Any, folder: Path) -> bool:
    """Copies the trained CLIP's patch embedding, positions and layers into the vision tower, where their sizes agree.

    What pictures look like need not be learned twice. CLIP's class token and first norm have no place in the tower;
    training makes up for them. Returns whether anything was copied.
    """
    from transformers import CLIPVisionModelWithProjection

    if not (folder / "config.json").exists():
        return False
    clip = CLIPVisionModelWithProjection.from_pretrained(folder)
    theirs = {k.removeprefix("vision_model."): v for k, v in clip.state_dict().items()}
    ours = model.model.vision_model.state_dict()
    positions = "embeddings.position_embedding.weight"
    theirs[positions] = theirs[positions][1:]
    shared = {k: v for k, v in theirs.items() if k in ours and ours[k].shape == v.shape}
    if sum(k.endswith("fc1.weight") for k in shared) != sum(k.endswith("fc1.weight") for k in ours):
        return False
    model.model.vision_model.load_state_dict({**ours, **shared})
    return True


def pretraining_loss(
    module: Pretraining,
    processor: Any,
    frame: ChatFrame,
    packs: list[Pack],
    tokens: Tensor,
    scenes: list[Scene],
    n_twins: int,
) -> dict[str, Tensor]:
    """Cross-entropy on answer tokens and on the pictures' words, and the twins' contrast over the last `3 * n_twins`
    pictures.

    The packs' pictures are indices into `tokens`; `scenes` are what they show. Each rank reads its own packs; the mean
    is over the tokens of all.
    """
    batch = pack(processor, frame, own(packs))
    hidden = run_packed(module.model, batch, tokens[torch.tensor(batch.pictures)])
    learned = batch.targets >= 0
    ce = answer_loss(module.model.lm_head(hidden[learned]), batch.targets[learned])
    ce = over_ranks(ce, int(learned.sum()))
    contrast = (
        twin_contrast(module.head, tokens[-3 * n_twins :].unflatten(0, (n_twins, 3))) if n_twins else ce.new_zeros(())
    )
    words = module.word_loss(tokens, scenes)
    return {"loss": ce + 0.5 * contrast + 0.2 * words, "answers": ce, "twins": contrast, "words": words}


@torch.no_grad()
def picture_reading(model: Any, processor: Any, scenes: list[Scene], pictures: np.ndarray) -> dict[str, float]:
    """Accuracy per family, for subject and setting, each answer against all its rivals by likelihood."""
    model.eval()
    frame = chat_frame(processor)
    rivals = {f: (family_question(f), [f"{v}." for v in (*values, PLAIN)]) for f, values in FAMILIES.items()}
    right: dict[str, list[bool]] = {}
    for scene, picture in zip(scenes, pictures):
        tokens = image_tokens(model, picture[None])
        truth = {f: f"{scene.values.get(f, PLAIN)}." for f in FAMILIES}
        prompts = {
            "subject": [f"{prompt_of(scene.with_changes(subject=s))}." for s in SUBJECTS],
            "setting": [f"{prompt_of(scene.with_changes(setting=s))}." for s in (*SETTINGS, None)],
        }
        asked = {**rivals, **{name: (WHAT, answers) for name, answers in prompts.items()}}
        truth |= {"subject": f"{prompt_of(scene)}.", "setting": f"{prompt_of(scene)}."}
        for name, (question, answers) in asked.items():
            branches = tuple(Branch(question=[question], answer=a) for a in answers)
            batch = pack(processor, frame, [Pack(history=[0], branches=branches)])
            scores = answer_log_likelihoods(model, batch, tokens)
            right.setdefault(name, []).append(answers[int(torch.tensor(scores).argmax())] == truth[name])
    return {f"{name}_accuracy": float(np.mean(values)) for name, values in right.items()}


@torch.no_grad()
def hand_reading(model: Any, processor: Any, pictures: np.ndarray) -> float:
    """How often the twin is told from the changed one. `pictures` uint8 [n, 3, h, w, 3]."""
    model.eval()
    frame, right = chat_frame(processor), []
    for i, group in enumerate(pictures):
        pair = [2, 1] if i % 2 else [1, 2]
        branches = tuple(Branch(question=[*pair, SAME_HAND], answer=a) for a in ("Second.", "Third."))
        batch = pack(processor, frame, [Pack(history=[0], branches=branches)])
        scores = answer_log_likelihoods(model, batch, image_tokens(model, group)[torch.tensor(batch.pictures)])
        right.append((scores[1] > scores[0]) == bool(i % 2))
    return float(np.mean(right))


def train_mllm_pretrain(c: Context) -> None:
    """Trains vision and language and saves model and processor to `work/mllm_pretrained`."""
    folder = c.work / "mllm_pretrained"
    if any((done / "model.safetensors").exists() for done in (folder, c.out / "mllm")):
        return
    p = c.preset
    model, processor = new_mllm(p)
    start_from_clip(model, c.out / "image_encoder")
    frame = chat_frame(processor)
    module = Pretraining(model, p.mllm_image_tokens, p.mllm_width)
    pictures = c.pictures()
    twins = _twins(c.work, "train", p)
    n_twins = p.mllm_batch // 4
    n_single = p.mllm_batch - n_twins

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng(seed_of("mllm_pretrain", p.seed, step))
        single, paired = (
            np.sort(rng.integers(0, len(pictures), n_single)),
            np.sort(rng.integers(0, len(twins), n_twins)),
        )
        scenes = [scene_at("train", int(i), p.seed) for i in single]
        packs = [picture_pack(rng, scene, k) for k, scene in enumerate(scenes)]
        for i in paired:
            group, start = twins_at(int(i), "train", p.seed), len(scenes)
            packs.append(twin_pack(rng, group, (start, start + 1, start + 2)))
            scenes += group
        shown = np.concatenate([pictures[single], twins[paired].reshape(-1, *pictures.shape[1:])])
        tokens = shared(module.features, shown)
        return pretraining_loss(module, processor, frame, packs, tokens, scenes, n_twins)

    def validate(_: nn.Module, __: int) -> dict[str, float]:
        shown = c.pictures("validation")[: p.mllm_validation]
        scenes = [scene_at("validation", i, p.seed) for i in range(len(shown))]
        hands = hand_reading(model, processor, _twins(c.work, "validation", p))
        return {**picture_reading(model, processor, scenes, shown), "same_hand_accuracy": hands}

    settings = LoopSettings(
        n_samples=p.mllm_pretrain_samples,
        batch_size=p.mllm_batch,
        learning_rate=p.mllm_rate,
        warmup_samples=min(10_000, p.mllm_pretrain_samples // 10),
        ema_decay=0.998,
        seed=p.seed,
    )
    loop = Loop("mllm_pretrain", c.work, module, loss, settings, lambda m, n: _averaged(loop, validate, m, n))
    loop.run(c.deadline)
    loop.use_ema()
    if is_first():
        save_mllm(model, processor, folder, torch.float32)


def _averaged(loop: Loop, validate: Any, module: nn.Module, n_seen: int) -> dict[str, float]:
    """Validates the averaged weights; the loop has saved the raw ones already."""
    loop.use_ema()
    return validate(module, n_seen)


def _twins(work: Path, split: str, preset: Preset) -> np.ndarray:
    n = preset.mllm_twins if split == "train" else preset.mllm_validation
    return paint_groups(work / "mllm_twins" / f"{split}.npy", partial(twins_at, split=split, seed=preset.seed), n, 3)


def save_mllm(model: Any, processor: Any, folder: Path, dtype: torch.dtype) -> None:
    """Writes processor first and weights last, so that weights in the folder mean a whole folder."""
    folder.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(folder)
    own = {name: parameter.dtype for name, parameter in model.named_parameters()}
    model.to(dtype).save_pretrained(folder, safe_serialization=True)
    model.to(next(iter(own.values())))
