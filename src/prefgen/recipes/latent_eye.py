"""A small network that sees in noisy latents what the vision tower sees in clean pictures: a perceptual loss.

Nearly all of an adapter's flow loss is noise that no person explains, and what has no word (warmth, contrast, where
things lie) changes it by less than a percent. So the estimate of the clean latents is noised anew, and what an eye
trained on noisy latents sees in it must be what the tower saw in the target. Noised again, an estimate that is merely
blurred is no stranger to the eye (ours; perceptual losses on what a diffusion model estimates: arXiv 2401.00110,
2404.16022).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import Timesteps
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from prefgen.core import numpy_rng
from prefgen.diffusion import FlowLoss, noise_like, noisy_latents, sample_times
from prefgen.recipes.checkpoint import fingerprint
from prefgen.recipes.context import Context
from prefgen.recipes.latents import TIME_MEAN, cached_latents
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.people_features import picture_embeddings
from prefgen.recipes.ranks import shared

N_TIME = 64
EXPLAINED = 0.999
"""Share of the embeddings' variance that the seen directions hold; the rest is rounding."""


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """Embeddings to directions of unit variance, so that what varies little counts as much as the subject does."""

    mean: Tensor
    directions: Tensor
    """[d_clip, d_seen]"""

    @classmethod
    def of(cls, embeddings: Tensor) -> Whitening:
        """The principal directions of embeddings [n, d_clip] that hold `EXPLAINED` of the variance."""
        mean = embeddings.float().mean(0)
        centred = embeddings.float() - mean
        variances, vectors = torch.linalg.eigh(centred.T @ centred / max(len(centred) - 1, 1))
        order = variances.argsort(descending=True)
        held = variances[order].cumsum(0) / variances.sum()
        kept = order[: int((held < EXPLAINED).sum()) + 1]
        return cls(mean=mean, directions=vectors[:, kept] * variances[kept].clamp_min(1e-12).rsqrt())

    def __call__(self, embeddings: Tensor) -> Tensor:
        """float32 [n, d_seen]."""
        return (embeddings.float() - self.mean) @ self.directions


class LatentEye(nn.Module):
    """Noisy latents [n, channels, h, w] and times [n] to whitened embeddings [n, d_seen]."""

    def __init__(self, channels: int, d_seen: int, width: int) -> None:
        super().__init__()
        d_time = 2 * width
        self.time = nn.Sequential(
            Timesteps(N_TIME, flip_sin_to_cos=True, downscale_freq_shift=0), nn.Linear(N_TIME, d_time), nn.SiLU()
        )
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        widths = (width, 2 * width, 3 * width)
        self.blocks = nn.ModuleList()
        for i, wide in enumerate(widths):
            if i:
                self.blocks.append(Downsample2D(widths[i - 1], use_conv=True, out_channels=widths[i - 1]))
            narrow = widths[max(0, i - 1)]
            for k in range(2):
                self.blocks.append(
                    ResnetBlock2D(
                        in_channels=wide if k else narrow, out_channels=wide, temb_channels=d_time, groups=8, eps=1e-5
                    )
                )
        self.leave = nn.Sequential(nn.GroupNorm(8, widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], width, 1))
        self.read = nn.Sequential(nn.Flatten(), nn.LazyLinear(4 * width), nn.GELU(), nn.Linear(4 * width, d_seen))

    def forward(self, latents: Tensor, times: Tensor) -> Tensor:
        """What is seen."""
        time = self.time(1000 * times.float())
        x = self.enter(latents)
        for block in self.blocks:
            x = block(x) if isinstance(block, Downsample2D) else block(x, time)
        return self.read(self.leave(x))


@dataclass(frozen=True, kw_only=True)
class PerceptualLoss:
    """The trained eye, the whitening of what it sees, and the loss's weight beside the flow loss."""

    eye: LatentEye
    whitening: Whitening
    weight: float = 1.0

    def __call__(self, flow: FlowLoss, embeddings: Tensor, generator: torch.Generator) -> Tensor:
        """float32 [n]: squared distance of what is seen in the estimates from the targets' `embeddings` [n, d_clip],
        weighted."""
        noised = noisy_latents(flow.estimate, noise_like(flow.estimate, generator), flow.times)
        seen = shared(self.eye, noised, flow.times).float()
        return self.weight * (seen - self.whitening(embeddings)).square().mean(-1)


def weighted_eye(c: Context, weight: float) -> PerceptualLoss | None:
    """The perceptual loss; None where its weight is 0, and no eye is trained.

    The eye is trained on first use on the training pictures' latents, and stays in the work folder.
    """
    if not weight:
        return None
    p = c.preset
    latents = cached_latents(c, n_pictures=p.unet_pictures)
    embeddings = picture_embeddings(c)
    whitening = Whitening.of(embeddings)
    torch.manual_seed(p.seed)
    eye = LatentEye(latents.shape[1], whitening.directions.shape[1], p.eye_width)
    eye(torch.zeros(1, *latents.shape[1:]), torch.zeros(1))

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        index = numpy_rng("eye", p.seed, step).integers(0, len(latents), p.eye_batch)
        z = torch.from_numpy(latents[index].astype("float32"))
        times = sample_times(len(index), generator, mean=TIME_MEAN - 1)
        seen = shared(eye, noisy_latents(z, noise_like(z, generator), times), times).float()
        error = (seen - whitening(embeddings[torch.from_numpy(index)])).square().mean(-1)
        clear = times < 0.3
        return {"loss": error.mean(), "clear": error[clear].mean() if clear.any() else error.mean()}

    settings = LoopSettings(
        n_samples=p.eye_samples,
        batch_size=p.eye_batch,
        learning_rate=1e-3,
        ema_decay=0.998,
        weight_decay=0.02,
        decay_fraction=0.5,
    )
    made_from = fingerprint(c.out / "vae", c.out / "image_encoder")
    loop = Loop("eye", c.work, eye, loss, settings, made_from=made_from)
    loop.run(c.deadline)
    loop.use_ema()
    return PerceptualLoss(eye=eye.eval().requires_grad_(False), whitening=whitening, weight=weight)
