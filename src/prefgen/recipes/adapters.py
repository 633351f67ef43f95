"""Alignment and adapter together: user embeddings that the frozen generator listens to.

Each training row shows one side of a person. A liked row hears the likes and paints a picture this person loves; a
disliked row hears the dislikes and paints one they hate, mostly without a prompt. At inference the likes join the
conditional branch and the dislikes the unconditional one, so guidance pulls towards the one and away from the other at
no further network call, and each side has a strength of its own (ours; the paper leaves dislikes inside one vector).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from prefgen.adapter import UserAdapter, UserTokens, load_adapter, save_adapter
from prefgen.agents.people import attribute_string
from prefgen.agents.scene import Scene, caption_of
from prefgen.alignment import info_nce, mmd2_unbiased, retrieval_top1
from prefgen.core import numpy_rng, torch_generator
from prefgen.diffusion import FlowLoss, flow_matching_loss
from prefgen.embedding import PARTS, SIDES, SideFeatures, UserEncoder, UserEncoderConfig
from prefgen.probing import LayerChoice
from prefgen.recipes.adapter_words import (
    MMD_WEIGHT,
    OWN_STRING_WEIGHT,
    attribute_strings,
    encoder_tokens,
    learn_words,
    picture_tokens,
)
from prefgen.recipes.checkpoint import fingerprint, save_json
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.latent_eye import PerceptualLoss, weighted_eye
from prefgen.recipes.latents import TIME_MEAN
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.people_features import PeopleFeatures, people_features
from prefgen.recipes.population import N_HISTORY, N_LIKED_TARGETS, population
from prefgen.recipes.twins import Twins, twins_of

DISLIKED_ROWS = 0.35
"""Share of rows that paint what a person hates."""
NOBODY_RATE, PART_DROP_RATE = 0.08, 0.15
"""Dropout of the person, and of each of e_sem, e_core, e_img by itself."""
TEACHER_SHARE = 0.7
"""How far the target moves from the drawn noise to what the frozen network says when told the target's words. The rest
carries what has no word, and shrinks its effect. Without a teacher nearly all of the loss is noise (ours)."""
TEACHER_LEAVES = 0.5, 0.8
"""Shares of the training between which the teacher's share falls to nothing, so that what has no word ends at full
strength."""
ONE_PART_RATE = 0.15
"""Share of rows that hear one of e_sem, e_core, e_img alone: each must be able to speak by itself."""
ELECTED_ROWS = 0.7
"""Share of a person's rows that hear elected tokens, as at inference; the rest hears the whole embedding's."""

ELECTION_WIDTH = 0.25
"""A third of what lies between the tokens of two pictures of a person, per dimension, in most families."""
TWIN_ROWS, TWIN_LEAST, TWIN_ENDS = 0.8, 0.4, 0.7
"""Share of rows that hear the embedding of a twin, a picture of another subject by the very same hand, and paint the
first: at the start, in the end, and the part of the training over which it falls. What a person's pictures say of
another is faint; a twin says all of it but the subject, so the adapter learns at once to listen to style, wordless too,
and never to the subject, which the stock IP-Adapter's objective (its own picture) would teach it (ours)."""


def twin_share(progress: float) -> float:
    """The share of rows that hear a twin after a part of the training, 0 to 1."""
    done = min(1.0, progress / TWIN_ENDS)
    return TWIN_ROWS + (TWIN_LEAST - TWIN_ROWS) * done


def teacher_share(progress: float) -> float:
    """The teacher's share after a part of the training, 0 to 1."""
    begin, end = TEACHER_LEAVES
    return TEACHER_SHARE * min(1.0, max(0.0, (end - progress) / (end - begin)))


def kept_parts(rng: np.random.Generator, n: int, heard: Sequence[str] = PARTS) -> dict[str, Tensor]:
    """bool [n] for each part: whether a row hears it. A single part `heard` is heard in every row."""
    if len(heard) == 1:
        return {part: torch.full((n,), part in heard) for part in PARTS}
    kept = {part: rng.random(n) >= PART_DROP_RATE for part in PARTS}
    alone, chosen = rng.random(n) < ONE_PART_RATE, rng.integers(0, len(PARTS), n)
    return {part: torch.from_numpy(np.where(alone, chosen == k, kept[part])) for k, part in enumerate(PARTS)}


def target_latents(c: Context, split: str = "train") -> np.ndarray:
    """float16 [n_users, n_targets, channels, h, w]: latents of the people's liked, then disliked targets."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from prefgen.recipes.autoencoder import as_batch

    images = population(c, split)[:, N_HISTORY:]
    path = c.work / f"targets.{split}.{len(images)}.{fingerprint(c.out / 'vae')}.npy"
    if not path.exists():
        vae: Any = AutoencoderKL.from_pretrained(c.out / "vae").eval()
        rows = []
        for i in range(0, len(images), 16):
            flat = as_batch(images[i : i + 16].reshape(-1, *images.shape[2:]))
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
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
        """The frozen network with whoever is heard now."""
        return self.network[0](x, timestep, text).sample


class Rows:
    """One batch: people, sides, targets and prompts, all drawn from the step's own generator."""

    def __init__(
        self,
        people: PeopleFeatures,
        latents: np.ndarray,
        rng: np.random.Generator,
        n: int,
        disliked_rows: float = DISLIKED_ROWS,
        twins: Twins | None = None,
        twin_share: float = 0.0,
        heard: Sequence[str] = PARTS,
    ) -> None:
        self.users = [int(u) for u in rng.permutation(len(people))[:n]]
        self.variants = [int(v) for v in rng.choice(3, len(self.users), p=[0.4, 0.25, 0.35])]
        self.liked = [bool(rng.random() >= disliked_rows) for _ in self.users]
        n_disliked = latents.shape[1] - N_LIKED_TARGETS
        self.columns = [
            int(rng.integers(N_LIKED_TARGETS) if liked else N_LIKED_TARGETS + rng.integers(n_disliked))
            for liked in self.liked
        ]
        self.latents = torch.from_numpy(
            np.stack([latents[u, k] for u, k in zip(self.users, self.columns)]).astype(np.float32)
        )
        self.target_clip = people.clip[torch.tensor(self.users), N_HISTORY + torch.tensor(self.columns)].float()
        scenes = [(p.liked + p.disliked)[k] for p, k in zip((people.person(u) for u in self.users), self.columns)]
        self.twin = torch.from_numpy(rng.random(len(self.users)) < twin_share)
        self.twin_clip = torch.zeros(len(self.users), 0)
        if twins is not None:
            drawn = [int(i) for i in rng.integers(0, len(twins.clip), len(self.users))]
            self.twin_clip = twins.clip[drawn].float()
            for row in self.twin.nonzero()[:, 0].tolist():
                scenes[row] = twins.scene(drawn[row])
                self.latents[row] = torch.from_numpy(twins.latents[drawn[row]].astype(np.float32))
                self.target_clip[row] = twins.own[drawn[row]].float()
        self.prompts = [adapter_prompt(s, rng, 0.1 if liked else 0.5) for s, liked in zip(scenes, self.liked)]
        self.told = [caption_of(scene) for scene in scenes]
        self.keep = {side: kept_parts(rng, len(self.users), heard) for side in SIDES}
        spoken = torch.from_numpy(rng.random(len(self.users)) >= NOBODY_RATE)
        for side in SIDES:
            self.keep[side] = {
                part: (kept & ~self.twin) | (self.twin & (part == "img")) for part, kept in self.keep[side].items()
            }
        liked = torch.tensor(self.liked)
        self.heard = {"like": spoken & liked, "dislike": spoken & ~liked}
        self.elected = torch.from_numpy(rng.random(len(self.users)) < ELECTED_ROWS) & ~self.twin


def personal_loss(
    model: PersonalGenerator,
    people: PeopleFeatures,
    rows: Rows,
    text: TextEncoding,
    strings: Mapping[str, Tensor],
    generator: torch.Generator,
    share: float = 0.0,
    seen: PerceptualLoss | None = None,
) -> dict[str, Tensor]:
    """Flow matching with the person heard, what is seen of the target, MMD and own-string contrast of `e_sem` on both
    sides.

    `strings[side]` [n_users, d_text]: everyone's `attribute_strings`; `share` the teacher's.
    """
    tokens: dict[str, Tensor] = {}
    mmd, own = torch.zeros(()), torch.zeros(())
    given = [with_twins(people.side(rows.users, rows.variants, i), rows) for i in range(len(SIDES))]
    for i, side in enumerate(SIDES):
        features, others = given[i], given[1 - i]
        parts = model.encoder.side(side).embed(features)
        made = model.encoder.side(side).tokens(parts, rows.keep[side])
        heard = rows.heard[side] & features.present
        made = with_elections(model.encoder, side, made, features, others, rows.elected & heard)
        tokens[side] = made * heard[:, None, None]
        if "sem" in model.heard:
            sem, there = parts["sem"].float(), strings[side][rows.users]
            mmd = mmd + mmd2_unbiased(sem, there)
            own = own + info_nce(sem - sem.mean(0), there - there.mean(0))
    spoken = UserTokens(like=tokens["like"], dislike=tokens["dislike"])
    painted = taught_loss(model.adapter, spoken, model.velocity, rows, text, generator, row_shares(rows, share))
    losses = painting_losses(painted, rows, seen, generator)
    loss = losses["loss"] + MMD_WEIGHT * mmd + OWN_STRING_WEIGHT * own
    return {**losses, "loss": loss, "mmd": mmd, "own": own}


def painting_losses(
    painted: FlowLoss, rows: Rows, seen: PerceptualLoss | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """`loss`, and its parts: `flow`, and `seen`, what an eye misses of the target in the estimate."""
    if seen is None:
        return {"loss": painted.mean, "flow": painted.mean}
    missed = seen(painted, rows.target_clip, generator).mean()
    return {"loss": painted.mean + missed, "flow": painted.mean, "seen": missed}


def with_elections(
    encoder: UserEncoder, side: str, whole: Tensor, own: SideFeatures, others: SideFeatures, elected: Tensor
) -> Tensor:
    """The whole embeddings' tokens [n, n_tokens, d] with elected ones in the rows where `elected`, bool [n], says so:
    people are heard through elected tokens, and what a network never met in training it does not understand."""
    tokens = list(whole)
    for row in elected.nonzero()[:, 0].tolist():
        mine, theirs = (
            (features.images[row, there], features.weights[row, there])
            for features in (own, others)
            for there in [features.weights[row] > 0]
        )
        tokens[row] = encoder.person_tokens(side, whole[row], mine, theirs)
    return torch.stack(tokens)


def row_shares(rows: Rows, share: float) -> Tensor:
    """The teacher's share in each row, float [n]: none where a twin is heard, since what has no word, of which the
    teacher knows nothing, is the lesson there."""
    return torch.where(rows.twin, 0.0, share)


def with_twins(features: SideFeatures, rows: Rows) -> SideFeatures:
    """The features with the twin's embedding as the only picture of the rows that hear one."""
    if not rows.twin.any():
        return features
    images, weights = features.images.clone(), features.weights.clone()
    images[rows.twin], weights[rows.twin] = 0.0, 0.0
    images[rows.twin, 0] = rows.twin_clip[rows.twin]
    weights[rows.twin, 0] = 1.0
    return replace(features, images=images, weights=weights)


def taught_loss(
    adapter: UserAdapter,
    heard: UserTokens,
    velocity: Callable[[Tensor, Tensor, Tensor], Tensor],
    rows: Rows,
    text: TextEncoding,
    generator: torch.Generator,
    share: float | Tensor,
) -> FlowLoss:
    """Flow matching with `heard` in the adapter; the target is drawn by `share` to what the network says that hears
    nobody and reads the targets' whole captions."""
    told = text(rows.told)

    def teacher(x: Tensor, timestep: Tensor) -> Tensor:
        with adapter.users(None):
            return velocity(x, timestep, told)

    with adapter.users(heard):
        return flow_matching_loss(
            velocity,
            rows.latents,
            text(rows.prompts),
            generator,
            time_mean=TIME_MEAN,
            teacher=teacher,
            teacher_share=share,
        )


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
    import json

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
    crowd, latents, twins = people["train"], target_latents(c), twins_of(c)
    unet: Any = UNet2DConditionModel.from_pretrained(c.out / "unet").eval()
    text = TextEncoding(c.out)
    config = UserEncoderConfig(
        d_lm=crowd.last.shape[-1],
        d_clip=crowd.clip.shape[-1],
        d_text=p.text_width,
        d_cross=unet.config.cross_attention_dim,
        n_tokens=p.user_tokens,
        sem_layers=choice.e_sem,
        core_layers=choice.e_core,
        vote_width=2 * p.text_width,
        one_reading=True,
        election_width=ELECTION_WIDTH,
    )
    begins_again = c.begins_again(name) and (folder / "adapter").is_dir()
    encoder = UserEncoder.load(folder / "user_encoder").train() if begins_again else UserEncoder(config)
    frozen = FROZEN if "sem" in heard or "core" in heard else FROZEN[:-1]
    speak = encoder_tokens(encoder, crowd, heard), picture_tokens(encoder)
    if not begins_again:
        learn_words(c, name, encoder, crowd, twins, *speak, frozen=frozen)
    adapter = load_adapter(folder / "adapter", unet) if begins_again else UserAdapter.for_unet(unet, init="copy")
    model = PersonalGenerator(encoder, adapter, unet, heard)
    model.adapter.inject(unet)
    seen = weighted_eye(c, p.eye_weight)
    learn_to_listen(c, name, model, crowd, latents, twins, seen, frozen=frozen)
    strings = {side: attribute_strings(crowd, text, side) for side in SIDES}

    def loss(step: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        progress, rng = step * p.adapter_batch / p.adapter_samples, numpy_rng("adapter", p.seed, step)
        rows = Rows(crowd, latents, rng, p.adapter_batch, twins=twins, twin_share=twin_share(progress), heard=heard)
        return personal_loss(model, crowd, rows, text, strings, generator, teacher_share(progress), seen)

    def validate(_: nn.Module, __: int) -> dict[str, float]:
        return branch_matters(model, people["validation"], target_latents(c, "validation"), text)

    run_adapter_loop(c, name, model, loss, validate, p.adapter_samples, frozen=frozen)
    model.adapter.eject()
    model.encoder.eval().save(folder / "user_encoder")
    save_adapter(model.adapter, folder / "adapter", torch.float16)


def learn_to_listen(
    c: Context,
    name: str,
    model: PersonalGenerator,
    people: PeopleFeatures,
    latents: np.ndarray,
    twins: Twins,
    seen: PerceptualLoss | None,
    frozen: Sequence[str],
) -> None:
    """The likes' adapter learns from twins alone what a picture's embedding asks for; the dislikes' starts from it.

    A person's pictures say little of another one, so most of a step on them is noise; a twin says all but the subject.
    A thousand steps on people alone left the network deaf to everything that has no word (ours).
    """
    p, text = c.preset, TextEncoding(c.out)
    speak = picture_tokens(model.encoder)

    def loss(step: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        rng = numpy_rng("listen", p.seed, step)
        rows = Rows(people, latents, rng, p.adapter_batch, disliked_rows=0.0, twins=twins, twin_share=1.0)
        heard = speak(rows.twin_clip, "like") * rows.heard["like"][:, None, None]
        with model.adapter.users(UserTokens(like=heard)):
            painted = flow_matching_loss(
                model.velocity, rows.latents, text(rows.prompts), generator, time_mean=TIME_MEAN
            )
        return painting_losses(painted, rows, seen, generator)

    run_adapter_loop(c, f"{name}-twins", model, loss, None, p.adapter_twin_samples, frozen=frozen)
    model.adapter.copy_group("like", "dislike")


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
