"""The autoencoder: a small stock `AutoencoderKL` (factor 4) trained on the painter's pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from prefgen.core import numpy_rng
from prefgen.recipes.context import Context
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import is_first, over_ranks, own


def new_autoencoder(preset: Preset) -> Any:
    """An untrained autoencoder of the preset's size."""
    n = len(preset.ae_channels)
    build: Any = AutoencoderKL
    return build(
        block_out_channels=preset.ae_channels,
        down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n,
        layers_per_block=1,
        latent_channels=preset.latent_channels,
        norm_num_groups=16,
        mid_block_add_attention=False,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
    )


def as_batch(pictures: np.ndarray) -> Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(model: Any, pictures: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """L1 on pixels and on their slopes, a touch of KL (1e-4) that keeps the latents near a unit normal."""
    n_all, pictures = len(pictures), own(pictures)
    posterior = model.encode(pictures).latent_dist
    mean, logvar = posterior.mean.float(), posterior.logvar.float().clamp(-20, 10)
    noise = own(torch.randn((n_all, *mean.shape[1:]), generator=generator))
    z = mean + noise * (0.5 * logvar).exp()
    out = model.decode(z).sample.float()
    l1 = over_ranks((out - pictures).abs().mean(), len(z))
    edge = sum(over_ranks((a - b).abs().mean(), len(z)) for a, b in zip(_slopes(out), _slopes(pictures)))
    kl = over_ranks(0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(), len(z))
    return {"loss": l1 + 0.5 * edge + 2e-4 * kl, "l1": l1, "kl": kl}


def psnr(model: Any, pictures: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio in dB over reconstructions of uint8 pictures."""
    values = []
    with torch.no_grad():
        for i in range(0, len(pictures), 32):
            x = as_batch(pictures[i : i + 32])
            error = (model.decode(model.encode(x).latent_dist.mean).sample.clamp(-1, 1) - x).square().mean((1, 2, 3))
            values.append(-10 * torch.log10(error / 4))
    return float(torch.cat(values).mean())


@torch.no_grad()
def normalise_latents(model: Any, pictures: np.ndarray) -> None:
    """Folds the latents' spread per channel into the first and last layers, so that every channel has unit spread."""
    z = torch.cat([model.encode(as_batch(pictures[i : i + 64])).latent_dist.mean for i in range(0, len(pictures), 64)])
    std = z.std((0, 2, 3))
    n = len(std)
    head, foot = model.encoder.conv_out, model.decoder.conv_in
    head.bias[:n] /= std
    head.weight[:n] /= std[:, None, None, None]
    head.bias[n:] -= 2 * std.log()
    foot.weight *= std[None, :, None, None]


def train_autoencoder(c: Context) -> None:
    """Trains, normalises the latents and saves to `out/vae`."""
    if (c.out / "vae" / "config.json").exists():
        return
    p = c.preset
    torch.manual_seed(p.seed)
    model = new_autoencoder(p)
    pictures = c.pictures()

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        index = np.sort(numpy_rng("autoencoder", p.seed, step).integers(0, len(pictures), p.ae_batch))
        return reconstruction_loss(model, as_batch(pictures[index]), generator)

    settings = LoopSettings(
        n_samples=p.ae_samples,
        batch_size=p.ae_batch,
        learning_rate=p.ae_rate,
        ema_decay=0.998,
        weight_decay=0.0,
        decay_fraction=0.35,
    )
    loop = Loop(
        "autoencoder",
        c.work,
        model,
        loss,
        settings,
        lambda m, _: {"psnr_db": psnr(model, c.pictures("validation")[:512])},
    )
    loop.run(c.deadline)
    loop.use_ema()
    if not is_first():
        return
    model.eval()
    normalise_latents(model, pictures[:4096])
    model.save_pretrained(c.out / "vae", safe_serialization=True)
