"""The base generator: a stock `UNet2DConditionModel` on cached latents, trained by flow matching on captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from prefgen.core import numpy_rng, torch_generator
from prefgen.diffusion import flow_matching_loss, flow_pipeline
from prefgen.recipes.captions import training_caption
from prefgen.recipes.context import Context
from prefgen.recipes.latent_eye import weighted_eye
from prefgen.recipes.latents import cached_latents, listening_times
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.manners import MannerTokens, manner_of_pictures, save_manner_tokens
from prefgen.recipes.people_features import picture_embeddings
from prefgen.recipes.pictures import scene_at
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import is_first, shared

EMPTY_CAPTION_RATE = 0.1
"""Share of captions left empty, for classifier-free guidance."""

CLEAR_SHARE = 0.5
"""Share of the training that begins with mostly clear pictures: subjects are slow to learn under textures and media."""

CLEARNESS = 0.6
"""In that share, each value and look that a picture carries makes it this many times as likely to be drawn."""

MANNER_SHARE = 0.6
"""Share of the steps in which tokens of the pictures' manner follow the captions."""
NOISY_SHARE = 0.2
"""Share of the rows that meet nearly pure noise (`prefgen.recipes.latents`)."""

DETAILED_SHARE = 0.35
"""Share of the rows that meet little noise, where hands and textures are settled."""

VALIDATION_PROMPTS = (
    "a fox by a lake",
    "a house in the mountains, crimson",
    "a cat, azure, pop art",
    "a teapot, gold, bold, framed",
    "a boat by a lake, watercolour",
    "a castle in the city, midnight, art deco",
    "a flower in a meadow, mosaic",
    "a car, neon, memphis, tilted",
    "a bird, sepia, hatched",
    "a mushroom in a forest, emerald, woodcut",
    "a balloon in the snow, ukiyo-e, tondo",
    "an umbrella, rose, op art, echoing",
)


def first_unet(c: Context) -> UNet2DConditionModel:
    """The network as the training finds it: untrained, or the one of the model that is trained on."""
    return new_unet(c.preset) if c.start is None else UNet2DConditionModel.from_pretrained(c.out / "unet").train()


def new_unet(preset: Preset) -> UNet2DConditionModel:
    """An untrained network: no cross-attention at the finest level, where it costs most and tells least."""
    n = len(preset.unet_channels)
    return UNet2DConditionModel(
        sample_size=64 // 2 ** (len(preset.ae_channels) - 1),
        in_channels=preset.latent_channels,
        out_channels=preset.latent_channels,
        block_out_channels=preset.unet_channels,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (n - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (n - 1), "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=preset.text_width,
        attention_head_dim=32,
        norm_num_groups=16,
    )


class TextEncoding:
    """Captions to cross-attention inputs, as the stock pipeline makes them."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Tensor:
        """float32 [batch, tokens, d_text]."""
        batch = self.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        return self.encoder(input_ids=batch.input_ids).last_hidden_state.float()

    @torch.no_grad()
    def pooled(self, texts: list[str]) -> Tensor:
        """float32 [batch, d_text]: the end-of-text state."""
        batch = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        return self.encoder(input_ids=batch.input_ids).pooler_output.float()


def assemble_pipeline(folder: Path, unet: UNet2DConditionModel) -> StableDiffusionPipeline:
    """The stock pipeline from the folder's frozen parts and a network."""
    text = TextEncoding(folder)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    return flow_pipeline(vae=vae, text_encoder=text.encoder, tokenizer=text.tokenizer, unet=unet)


def sheet(pictures: list[Image.Image], n_columns: int, scale: int = 2) -> Image.Image:
    """A plain grid of pictures."""
    side = pictures[0].width * scale
    out = Image.new("RGB", (n_columns * side, -(-len(pictures) // n_columns) * side), "white")
    for i, picture in enumerate(pictures):
        out.paste(picture.resize((side, side), Image.Resampling.NEAREST), (i % n_columns * side, i // n_columns * side))
    return out


def show_pictures(c: Context, unet: UNet2DConditionModel, n_seen: int) -> None:
    """Paints the validation prompts with fixed seeds into `samples/`."""
    pipe: Any = assemble_pipeline(c.out, unet)
    pipe.set_progress_bar_config(disable=True)
    prompts = list(VALIDATION_PROMPTS)
    made = pipe(
        prompts * 2,
        num_inference_steps=16,
        guidance_scale=3.0,
        generator=[torch_generator("validation picture", i) for i in range(2 * len(prompts))],
    ).images
    (c.work / "samples").mkdir(exist_ok=True)
    sheet(made, len(prompts)).save(c.work / "samples" / f"generator-{n_seen:08d}.png")


def clear_first(n_pictures: int, seed: int) -> np.ndarray:
    """float64 [n_pictures], rising to 1: cumulative chances under which a picture is rarer the more it carries."""
    scenes = (scene_at("train", i, seed) for i in range(n_pictures))
    weights = np.array([CLEARNESS ** (len(scene.values) + (scene.look is not None)) for scene in scenes])
    return np.cumsum(weights) / weights.sum()


def samples_of(report: Path) -> int:
    """How many samples a finished stage saw; 0 without a report."""
    return int(json.loads(report.read_text())["samples"]) if report.exists() else 0


def train_generator(c: Context) -> None:
    """Trains the network and saves it as `unet/`, with `scheduler/` and `model_index.json`, a stock pipeline folder.

    A generator that was finished at fewer samples than asked for now goes on from its checkpoint.
    """
    p = c.preset
    if (c.out / "model_index.json").exists() and samples_of(c.work / "generator.report.json") >= p.unet_samples:
        return
    torch.manual_seed(p.seed)
    unet = first_unet(c)
    latents, text = cached_latents(c, n_pictures=p.unet_pictures), TextEncoding(c.out)
    clear, seen, embeddings = (
        clear_first(len(latents), p.seed),
        weighted_eye(c, p.unet_eye_weight),
        picture_embeddings(c),
    )
    manners = MannerTokens(manner_of_pictures(c), p.text_width, p.manner_tokens)
    module = nn.ModuleDict({"unet": unet, "manners": manners})

    def velocity(x: Tensor, timestep: Tensor, words: Tensor) -> Tensor:
        return unet(x, timestep, words).sample

    def unet_call(x: Tensor, timestep: Tensor, words: Tensor) -> Tensor:
        return shared(velocity, x, timestep, words)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rng = numpy_rng("generator", p.seed, step)
        early = c.start is None and step * p.unet_batch < CLEAR_SHARE * p.unet_samples
        index = np.sort(
            np.minimum(np.searchsorted(clear, rng.random(p.unet_batch)), len(latents) - 1)
            if early
            else rng.integers(0, len(latents), p.unet_batch)
        )
        captions = [training_caption(scene_at("train", int(i), p.seed), rng) for i in index]
        captions = ["" if rng.random() < EMPTY_CAPTION_RATE else caption for caption in captions]
        z, shown = torch.from_numpy(latents[index].astype(np.float32)), embeddings[torch.from_numpy(index)]
        told, times = text(captions), listening_times(len(index), generator, NOISY_SHARE, DETAILED_SHARE)
        if rng.random() < MANNER_SHARE:
            told = torch.cat([told, manners(shown).to(told)], 1)
        painted = flow_matching_loss(unet_call, z, told, generator, times=times)
        if seen is None:
            return {"loss": painted.mean}
        missed = seen(painted, shown, generator).mean()
        return {"loss": painted.mean + missed, "flow": painted.mean, "seen": missed}

    settings = LoopSettings(
        n_samples=p.unet_samples,
        batch_size=p.unet_batch,
        learning_rate=p.unet_rate,
        ema_decay=p.unet_ema,
        weight_decay=0.01,
        decay_fraction=0.2 if c.start is None else 0.5,
    )
    loop = Loop("generator", c.work, module, loss, settings, None, lambda n: show_pictures(c, unet, n))
    loop.run(c.deadline)
    loop.use_ema()
    if not is_first():
        return
    unet.eval()
    save_manner_tokens(c, manners)
    assemble_pipeline(c.out, unet).save_pretrained(c.out)
