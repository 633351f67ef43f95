"""Alignment and adapter: user embeddings that the frozen generator listens to.

First user tokens learn on cached features where the words of people and of single pictures lie (`adapter_words`, with
MMD and the own-string contrast of `e_sem`). Then the adapter learns from twins: it hears the embedding of one picture
and paints another subject by the very same hand. What people's own pictures say of another one of theirs is faint; a
network that is trained on it learns to trust what it hears less, and every person is followed less (dev/LOG.md,
section 7). At inference a person's tokens are elected among those of their pictures, so the network meets what it was
trained on.

At last both groups train: a liked row hears likes and paints what was asked for, a disliked row hears dislikes, mostly
without a prompt. At inference the likes join the conditional branch and the dislikes the unconditional one, so guidance
pulls towards the one and away from the other at no further network call, and each side has a strength of its own (ours;
the paper leaves dislikes inside one vector).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from prefgen.adapter import UserAdapter, UserTokens, load_adapter, save_adapter
from prefgen.agents.people import attribute_string
from prefgen.agents.scene import Scene, caption_of
from prefgen.alignment import mmd2_unbiased, retrieval_top1
from prefgen.core import numpy_rng, torch_generator
from prefgen.diffusion import FlowLoss, flow_matching_loss
from prefgen.embedding import PARTS, SIDES, UserEncoder, UserEncoderConfig
from prefgen.probing import LayerChoice
from prefgen.recipes.adapter_words import PeopleWords, encoder_tokens, learn_words, said_tokens
from prefgen.recipes.autoencoder import as_batch
from prefgen.recipes.checkpoint import fingerprint, save_json
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.latent_eye import PerceptualLoss, weighted_eye
from prefgen.recipes.latents import listening_times
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.manners import known_manner_tokens, learn_to_follow, manner_of_pictures
from prefgen.recipes.people_features import PeopleFeatures, people_features
from prefgen.recipes.population import N_HISTORY, population
from prefgen.recipes.precision import fast_autocast
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import by_turns, is_first, own, shared
from prefgen.recipes.twins import Twins, twins_of

DISLIKED_ROWS = 0.35
"""Share of the last part's rows that paint what is disliked."""
NOBODY_RATE = 0.08
"""Share of rows that hear nobody, of each side by itself."""
ELECTION_WIDTH = 0.25
"""A third of what lies between the tokens of two pictures of a person, per dimension, in most families."""


@by_turns
def target_latents(c: Context, split: str = "train") -> np.ndarray:
    """float16 [n_users, n_targets, channels, h, w]: latents of the people's liked, then disliked targets."""
    images = population(c, split)[:, N_HISTORY:]
    path = c.work / f"targets.{split}.{len(images)}.{fingerprint(c.out / 'vae')}.npy"
    if not path.exists():
        vae: Any = AutoencoderKL.from_pretrained(c.out / "vae").eval()
        rows = []
        for i in range(0, len(images), 16):
            flat = as_batch(images[i : i + 16].reshape(-1, *images.shape[2:]))
            with torch.no_grad(), fast_autocast():
                z = vae.encode(flat).latent_dist.mean.float().numpy().astype(np.float16)
            rows.append(z.reshape(-1, images.shape[1], *z.shape[1:]))
        np.save(path.with_suffix(".part.npy"), np.concatenate(rows))
        path.with_suffix(".part.npy").rename(path)
    return np.load(path, mmap_mode="r")


def adapter_prompt(scene: Scene, rng: np.random.Generator, empty_rate: float) -> str:
    """The target's prompt: subject and setting, in one of four with some of its attributes; empty now and then."""
    if rng.random() < empty_rate:
        return ""
    families = [str(f) for f in rng.permutation(list(scene.values))]
    return caption_of(scene, families[: int(rng.integers(1, 3))] if rng.random() < 0.25 else [])


class PersonalGenerator(nn.Module):
    """What is trained: user encoder and adapter. The frozen network is held outside the module's parameters.

    `heard` names the parts of the user embedding that are ever heard.
    """

    def __init__(
        self, encoder: UserEncoder, adapter: UserAdapter, unet: UNet2DConditionModel, heard: Sequence[str] = PARTS
    ) -> None:
        super().__init__()
        self.encoder, self.adapter, self.heard = encoder, adapter, tuple(heard)
        self.network: list[UNet2DConditionModel] = [unet.requires_grad_(False)]

    def velocity(self, x: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """The frozen network with whoever is heard now, each rank painting its own rows."""
        return shared(lambda *rows: self.network[0](*rows).sample, x, timestep, text)


class TwinRows:
    """One batch of twins, drawn from the step's own generator: what is heard, on which side, and what is to be painted.

    `clip` and `target_clip` float32 [n, d_clip] are embeddings of what is heard and of the target, `latents`
    [n, channels, h, w] the target's; `heard[side]` bool [n].
    """

    def __init__(self, twins: Twins, rng: np.random.Generator, n: int, disliked_rows: float = 0.0) -> None:
        drawn = [int(i) for i in rng.integers(0, len(twins.clip), n)]
        liked = rng.random(n) >= disliked_rows
        spoken = torch.from_numpy(rng.random(n) >= NOBODY_RATE)
        scenes = [twins.scene(i) for i in drawn]
        self.clip, self.target_clip = twins.clip[drawn].float(), twins.own[drawn].float()
        self.latents = torch.from_numpy(twins.latents[drawn].astype(np.float32))
        self.prompts = [adapter_prompt(s, rng, 0.1 if like else 0.5) for s, like in zip(scenes, liked.tolist())]
        sides = torch.from_numpy(liked), torch.from_numpy(~liked)
        self.heard = {side: spoken & there for side, there in zip(SIDES, sides)}


def painting_losses(
    painted: FlowLoss, target_clip: Tensor, seen: PerceptualLoss | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """`loss`, and its parts: `flow`, and `seen`, what an eye misses of the target in the estimate."""
    if seen is None:
        return {"loss": painted.mean, "flow": painted.mean}
    missed = seen(painted, target_clip, generator).mean()
    return {"loss": painted.mean + missed, "flow": painted.mean, "seen": missed}


def twin_losses(
    model: PersonalGenerator,
    rows: TwinRows,
    text: TextEncoding,
    generator: torch.Generator,
    seen: PerceptualLoss | None,
) -> dict[str, Tensor]:
    """What the network paints that hears the rows' pictures."""
    encoder = model.encoder
    heard = {
        side: encoder.side(side).picture_tokens(rows.clip) * there[:, None, None]
        for side, there in rows.heard.items()
        if there.any()
    }
    times, words = listening_times(len(rows.latents), generator), text(rows.prompts)
    with model.adapter.users(UserTokens(**{side: own(tokens) for side, tokens in heard.items()}) if heard else None):
        painted = flow_matching_loss(model.velocity, rows.latents, words, generator, times=times)
    return painting_losses(painted, rows.target_clip, seen, generator)


@torch.no_grad()
def branch_matters(
    model: PersonalGenerator, people: PeopleFeatures, latents: np.ndarray, text: TextEncoding
) -> dict[str, float]:
    """Whether the network listens: flow loss on validation people's liked targets with their own tokens, with a
    stranger's, and with nobody's; and retrieval of the own attribute string among 50."""
    users = list(range(len(people)))
    features = people.side(users, [0] * len(users), 0)
    parts = model.encoder.like.embed(features)
    tokens = model.encoder.like.tokens(parts, {part: torch.full((len(users),), part in model.heard) for part in PARTS})
    z = torch.from_numpy(latents[:, 0].astype(np.float32))
    prompts = text([caption_of(people.person(u).liked[0], []) for u in users])
    found: dict[str, float] = {}
    for name, heard in (("own", tokens), ("stranger", tokens.roll(1, 0)), ("nobody", tokens * 0)):
        total = 0.0
        for k in range(4):
            with model.adapter.users(UserTokens(like=heard)):
                total += float(flow_matching_loss(model.velocity, z, prompts, torch_generator("matters", k)).mean)
        found[f"flow_{name}"] = total / 4
    strings = text.pooled([attribute_string(people.person(u).person) for u in users])
    retrieval = retrieval_top1(parts["sem"], strings)
    return {**found, "retrieval_top1_of_50": retrieval.accuracy, "mmd2": float(mmd2_unbiased(parts["sem"], strings))}


def layer_choice(c: Context, n_states: int) -> LayerChoice:
    """The layers that the probes chose; the top four and those below them where probes have not run."""
    path = c.out / "layers.json"
    if path.exists():
        return LayerChoice.from_json(json.loads(path.read_text()))
    top = tuple(range(max(0, n_states - 4), n_states))
    core = tuple(range(max(0, n_states // 2), max(1, n_states - 4)))
    return LayerChoice(e_core=core or top, e_sem=top, reason="no probes were run: top four, and middle to upper")


def train_adapter(c: Context) -> None:
    """Trains user encoder and adapter on the frozen generator; saved as `user_encoder/` and `adapter/`."""
    if (c.out / "user_encoder" / "config.json").exists() and not c.begins_again("adapter"):
        return
    people = {split: people_features(c, split) for split in ("train", "validation")}
    choice = layer_choice(c, people["train"].last.shape[-2])
    train_personal(c, "adapter", people, choice, PARTS, c.out)
    if is_first():
        save_json(c.out / "layers.json", choice.to_json())


def train_personal(
    c: Context,
    name: str,
    people: Mapping[str, PeopleFeatures],
    choice: LayerChoice,
    heard: Sequence[str],
    folder: Path,
) -> None:
    """A user encoder of which only the parts `heard` are ever heard, and its adapter; saved below `folder`.

    `people` are the features of the `train` and the `validation` split.
    """
    p = c.preset
    torch.manual_seed(p.seed)
    crowd, twins = people["train"], twins_of(c)
    unet: Any = UNet2DConditionModel.from_pretrained(c.out / "unet").eval()
    text = TextEncoding(c.out)
    manner = manner_of_pictures(c)
    learn_to_follow(manner, crowd)
    config = encoder_config(p, crowd, choice, d_cross=unet.config.cross_attention_dim, d_manner=manner.whiten.shape[1])
    begins_again = c.begins_again(name) and (folder / "adapter").is_dir()
    reads_on = begins_again and not c.sees_anew
    encoder = UserEncoder.load(folder / "user_encoder").train() if reads_on else UserEncoder(config).fitted(manner)
    frozen = FROZEN if "sem" in heard or "core" in heard else FROZEN[:-1]
    words = PeopleWords(crowd, text, encoder_tokens(encoder, crowd, heard))
    if not reads_on:
        learn_words(c, name, encoder, words, twins, said_tokens(encoder), frozen=frozen)
        begin_with_known_manners(c, encoder)
    adapter = load_adapter(folder / "adapter", unet) if begins_again else UserAdapter.for_network(unet, init="copy")
    model = PersonalGenerator(encoder, adapter, unet, heard)
    model.adapter.inject(unet)
    seen = weighted_eye(c, p.eye_weight)

    def listen(step: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        rng = numpy_rng("listen", p.seed, step)
        return twin_losses(model, TwinRows(twins, rng, p.adapter_batch), text, generator, seen)

    def both_sides(step: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        rng = numpy_rng("adapter", p.seed, step)
        rows = TwinRows(twins, rng, p.adapter_batch, DISLIKED_ROWS)
        painted, said = twin_losses(model, rows, text, generator, seen), words(rng, p.adapter_batch)
        return {**said, **painted, "loss": painted["loss"] + said["loss"]}

    def validate(_: nn.Module, __: int) -> dict[str, float]:
        return branch_matters(model, people["validation"], target_latents(c, "validation"), text)

    run_adapter_loop(c, f"{name}-twins", model, listen, None, p.adapter_twin_samples, frozen=frozen)
    model.adapter.copy_group("like", "dislike")
    run_adapter_loop(c, name, model, both_sides, validate, p.adapter_samples, frozen=frozen)
    model.adapter.eject()
    if not is_first():
        return
    model.encoder.eval().save(folder / "user_encoder")
    save_adapter(model.adapter, folder / "adapter", torch.float16)


def encoder_config(
    p: Preset, crowd: PeopleFeatures, choice: LayerChoice, *, d_cross: int, d_manner: int
) -> UserEncoderConfig:
    """The shape of a user encoder for a preset, people's features, and layers that the probes chose."""
    return UserEncoderConfig(
        d_lm=crowd.last.shape[-1],
        d_clip=crowd.clip.shape[-1],
        d_text=p.text_width,
        d_cross=d_cross,
        n_tokens=p.user_tokens,
        sem_layers=choice.e_sem,
        core_layers=choice.e_core,
        vote_width=2 * p.text_width,
        one_reading=True,
        election_width=ELECTION_WIDTH,
        manner_tokens=p.manner_tokens,
        d_manner=d_manner,
    )


def begin_with_known_manners(c: Context, encoder: UserEncoder) -> None:
    """Gives the encoder the manner tokens that the generator learned to hear, where it did."""
    if known := known_manner_tokens(c):
        for side in {encoder.side(side) for side in SIDES}:
            side.manner_projector.load_state_dict(known)


FROZEN = ("unet", "vae", "text_encoder", "image_encoder", "mllm")
"""What an adapter is trained on; a checkpoint on other parts is refused."""


def run_adapter_loop(
    c: Context,
    name: str,
    model: nn.Module,
    loss: Callable[[int, torch.Generator], Mapping[str, Tensor]],
    validate: Callable[[nn.Module, int], Mapping[str, float]] | None,
    n_samples: int,
    frozen: Sequence[str] = FROZEN,
) -> None:
    """The same loop, batch and rates for our adapter and for every baseline's, which get as many rows in all."""
    p = c.preset
    settings = LoopSettings(
        n_samples=n_samples,
        batch_size=p.adapter_batch,
        learning_rate=p.adapter_rate,
        ema_decay=0.999,
        weight_decay=0.01,
        decay_fraction=0.3,
    )
    made_from = fingerprint(*(c.out / part for part in frozen))
    loop = Loop(name, c.work, model, loss, settings, validate, made_from=made_from)
    loop.run(c.deadline)
    loop.use_ema()
