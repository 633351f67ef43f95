"""Tokenizer and CLIP: a stock `CLIPModel` trained on the painter's pictures and captions.

Three losses: image against caption (InfoNCE), image against its twin in the same style (InfoNCE through a head that is
thrown away; without it nothing would make the embedding keep what has no word), and the caption's words (a bag of
words, which teaches much faster than the contrast alone at this size).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from prefgen.core import numpy_rng
from prefgen.recipes.autoencoder import as_batch
from prefgen.recipes.captions import example_texts, known_words, training_caption
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.pictures import scene_at
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import is_first, shared

_CLIP_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def new_tokenizer(preset: Preset, texts: list[str]) -> Any:
    """A stock CLIP tokenizer (byte-level BPE) whose merges are learned from `texts`; any text can be encoded."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=preset.vocabulary - 2 - 256,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    import json

    merges = [tuple(m) for m in json.loads(bpe.to_str())["model"]["merges"]]
    words = [*alphabet, *(a + "</w>" for a in alphabet)]
    words += [w for w in dict.fromkeys(a + b for a, b in merges) if w not in set(words)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    build: Any = CLIPTokenizer
    return build(vocab={w: i for i, w in enumerate(words)}, merges=merges, model_max_length=preset.text_length)


def vision_config(width: int, n_layers: int, d_projection: int) -> CLIPVisionConfig:
    """A vision tower of 8-pixel patches, heads 32 wide, embeddings `d_projection` wide."""
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=d_projection,
        num_hidden_layers=n_layers,
        num_attention_heads=max(1, width // 32),
        image_size=64,
        patch_size=8,
        hidden_act="gelu",
    )


def new_clip(preset: Preset, tokenizer: Any) -> Any:
    """An untrained CLIP of the preset's size: 8-pixel patches, texts of `text_length` tokens."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=preset.text_width,
        intermediate_size=4 * preset.text_width,
        projection_dim=preset.text_width,
        num_hidden_layers=preset.clip_text_layers,
        num_attention_heads=max(1, preset.text_width // 32),
        max_position_embeddings=preset.text_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        hidden_act="gelu",
    )
    vision = vision_config(preset.clip_width, preset.clip_vision_layers, preset.text_width)
    return CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=preset.text_width)
    )


def clip_image_processor() -> CLIPImageProcessorPil:
    """64 pixels a side, [-1, 1]: what the small CLIP was trained on."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )


class ClipTrainer(nn.Module):
    """CLIP with the two heads that only training needs."""

    def __init__(self, clip: Any, n_words: int) -> None:
        super().__init__()
        d = clip.config.projection_dim
        self.clip: Any = clip
        self.style_head = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.Linear(d, 128))
        self.word_head = nn.Linear(d, n_words)
        self.style_scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, pictures: Tensor, twins: Tensor, ids: Tensor, mask: Tensor, words: Tensor) -> dict[str, Tensor]:
        """All three losses; `words` float [batch, n_words] is 1 where the caption names the word."""
        n = len(pictures)
        images = shared(self._images, torch.cat([pictures, twins]))
        text = shared(self._texts, ids, mask)
        contrast = info_nce_of_pairs(images[:n], text, self.clip.logit_scale)
        style = self.style_head(images)
        twin = info_nce_of_pairs(style[:n], style[n:], self.style_scale)
        bag = F.binary_cross_entropy_with_logits(self.word_head(images[:n]).float(), words, reduction="sum") / n
        return {"loss": contrast + 0.7 * twin + 0.3 * bag, "contrast": contrast, "twin": twin, "bag": bag}

    def _images(self, pictures: Tensor) -> Tensor:
        return self.clip.get_image_features(pixel_values=pictures).pooler_output

    def _texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.clip.get_text_features(input_ids=ids, attention_mask=mask).pooler_output


def info_nce_of_pairs(a: Tensor, b: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE: row k of `a` [n, d] belongs to row k of `b` [n, d]."""
    logits = F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).T * log_scale.clamp(max=4.0).exp()
    target = torch.arange(len(a))
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def _retrieval(trainer: Any, c: Context, tokenizer: Any) -> dict[str, float]:
    clip = trainer.clip
    pictures = c.pictures("validation")[:256]
    captions = [
        training_caption(scene_at("validation", i, c.preset.seed), numpy_rng("v", i)) for i in range(len(pictures))
    ]
    with torch.no_grad():
        images = F.normalize(clip.get_image_features(pixel_values=as_batch(pictures)).pooler_output, dim=-1)
        batch = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
        text = F.normalize(clip.get_text_features(**batch).pooler_output, dim=-1)
    hits = (images @ text.T).argmax(1) == torch.arange(len(images))
    return {"image_to_text_top1_of_256": float(hits.float().mean())}


def train_clip(c: Context) -> None:
    """Tokenizer, then CLIP, whose text tower is kept: saved as `tokenizer/` and `text_encoder/`."""
    if (c.out / "text_encoder" / "config.json").exists():
        return
    p = c.preset
    torch.manual_seed(p.seed)
    tokenizer = new_tokenizer(p, example_texts(seed=p.seed))
    vocabulary = known_words()
    place = {w: i for i, w in enumerate(vocabulary)}
    trainer = ClipTrainer(new_clip(p, tokenizer), len(vocabulary))
    pictures, twins = c.pictures(), c.pictures("twins")

    def loss(step: int, _: torch.Generator) -> dict[str, Tensor]:
        rng = numpy_rng("clip", p.seed, step)
        index = np.sort(rng.integers(0, len(twins), p.clip_batch))
        scenes = [scene_at("train", int(i), p.seed) for i in index]
        batch = tokenizer(
            [training_caption(s, rng) for s in scenes], padding="max_length", truncation=True, return_tensors="pt"
        )
        words = torch.zeros(len(scenes), len(vocabulary))
        for row, s in enumerate(scenes):
            named = [s.subject, *([s.setting] if s.setting else []), *s.values.values()]
            words[row, [place[w] for w in named]] = 1
        return trainer(as_batch(pictures[index]), as_batch(twins[index]), batch.input_ids, batch.attention_mask, words)

    settings = LoopSettings(
        n_samples=p.clip_samples, batch_size=p.clip_batch, learning_rate=p.clip_rate, ema_decay=0.998, weight_decay=0.05
    )
    loop = Loop("clip", c.work, trainer, loss, settings, lambda m, _: _retrieval(m, c, tokenizer))
    loop.run(c.deadline)
    loop.use_ema()
    if is_first():
        save_text_tower(trainer.clip.eval(), tokenizer, c.out)


def save_image_processor(out: Path) -> None:
    """Writes `feature_extractor/`."""
    clip_image_processor().save_pretrained(out / "feature_extractor")


def save_text_tower(clip: Any, tokenizer: Any, out: Path) -> None:
    """Writes `tokenizer/` and `text_encoder/` as a stock Stable Diffusion pipeline expects them."""
    text = CLIPTextModel(clip.config.text_config)
    _copy_same(clip.text_model, text)
    text.eval().save_pretrained(out / "text_encoder")
    tokenizer.save_pretrained(out / "tokenizer")


def _copy_same(source: nn.Module, target: nn.Module) -> None:
    """Copies a tower whether or not the target wraps it (transformers moved it between releases)."""
    inner = getattr(target, "text_model", getattr(target, "vision_model", target))
    inner.load_state_dict(source.state_dict())
