"""Before the generator is asked: user tokens learn to stand where the words of a taste stand in the text space.

The adapter's keys and values start as copies of the text's, so a token that lies where a word's state lies is heard as
that word from the first step on; what has no word is left to the training behind it (ours). It costs seconds, since no
picture is denoised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prefgen.agents.people import Person, attribute_string
from prefgen.agents.scene import Scene
from prefgen.agents.vocabulary import FAMILIES, all_values
from prefgen.alignment import info_nce, mmd2_unbiased
from prefgen.core import numpy_rng, torch_generator
from prefgen.embedding import SIDES, UserEncoder
from prefgen.embedding import word_states as token_states
from prefgen.recipes.checkpoint import fingerprint
from prefgen.recipes.context import Context
from prefgen.recipes.generator import TextEncoding
from prefgen.recipes.loop import Loop, LoopSettings
from prefgen.recipes.people_features import N_VARIANTS, PeopleFeatures
from prefgen.recipes.presets import Preset
from prefgen.recipes.ranks import shared
from prefgen.recipes.twins import Twins

BATCH = 128
MMD_WEIGHT, OWN_STRING_WEIGHT = 0.5, 0.1
"""Weights of the two losses of `drawn_to_strings`."""
ECHO_WEIGHT = 0.3
"""Weight of `echo_loss`."""
SILENT_WEIGHT = 0.25
"""Weight of a family without an opinion, whose token should lie where a text that says nothing lies."""


def attribute_strings(people: PeopleFeatures, text: TextEncoding, side: str) -> Tensor:
    """float32 [n_users, d_text]: the text embedding of each person's attribute string of one side."""
    liked = side == "like"
    strings = [attribute_string(people.person(u).person, liked=liked) for u in range(len(people))]
    return torch.cat([text.pooled(strings[i : i + 256]) for i in range(0, len(strings), 256)])


def word_states(text: TextEncoding) -> dict[str, Tensor]:
    """Every attribute value's state float [d_text]: the mean over its tokens, the value standing alone; and `""`, what
    an empty text leaves at every place."""
    words = list(all_values())

    def n_tokens(word: str) -> int:
        return len(text.tokenizer(word, add_special_tokens=False).input_ids)

    states, silence = token_states(text, n_tokens, words)
    return {"": silence, **dict(zip(words, states))}


def word_targets(people: Sequence[Person], states: Mapping[str, Tensor], *, liked: bool) -> tuple[Tensor, Tensor]:
    """Where each family's token should lie, float [n_people, n_families, d_text], and its weight, [n_people,
    n_families]: the mean state of the family's values that the person likes (or dislikes) now, or the silent state."""
    targets = states[""].expand(len(people), len(FAMILIES), -1).clone()
    weights = torch.full((len(people), len(FAMILIES)), SILENT_WEIGHT)
    for row, person in enumerate(people):
        for column, family in enumerate(FAMILIES):
            tastes = [t.likes if liked else t.dislikes for t in person.current_tastes()]
            values = [value for taste in tastes for value in taste.get(family, ())]
            if values:
                targets[row, column] = torch.stack([states[v] for v in values]).mean(0)
                weights[row, column] = 1.0
    return targets, weights


def scene_targets(scenes: Sequence[Scene], states: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The same for single pictures: each family's token should lie where the picture's own value does."""
    said = [[scene.values.get(family, "") for family in FAMILIES] for scene in scenes]
    targets = torch.stack([torch.stack([states[value] for value in row]) for row in said])
    weights = torch.tensor([[1.0 if value else SILENT_WEIGHT for value in row] for row in said])
    return targets, weights


@lru_cache(maxsize=4)
def _turns(n: int, d_clip: int, d: int) -> Tensor:
    """[n, d_clip, d], always the same: how each token beyond the families sees an embedding."""
    return torch.randn(n, d_clip, d, generator=torch_generator("echo", d_clip, d))


def echo_loss(tokens: Tensor, embeddings: Tensor) -> Tensor:
    """Mean squared distance of the tokens beyond the families from the picture's own embedding, each token seeing it
    turned another way: what has no word must stand somewhere too, or the words' training wipes it out.

    `tokens` [n, n_tokens, d], `embeddings` [n, d_clip]; 0 where there is no token beyond the families.
    """
    free = tokens[:, len(FAMILIES) :].float()
    if not free.shape[1]:
        return free.new_zeros(())
    d_clip, d = embeddings.shape[1], free.shape[2]
    turns = _turns(free.shape[1], d_clip, d)
    seen = F.layer_norm(embeddings.float(), (d_clip,))
    said = F.layer_norm(torch.einsum("nc,kcd->nkd", seen, turns.to(seen.device)), (d,))
    return (free - said).square().mean()


def word_loss(tokens: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean squared distance of token k from family k's target.

    `tokens` [n, n_tokens, d]; tokens beyond the families are free, families beyond the tokens are left out.
    """
    k = min(tokens.shape[1], targets.shape[1])
    error = (tokens[:, :k].float() - targets[:, :k]).square().mean(-1)
    return (error * weights[:, :k]).sum() / weights[:, :k].sum().clamp_min(1)


Alignment = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""From `e_sem` and its strings' text states, both [n, d_text], to losses by name, already weighed."""


def drawn_to_strings(sem: Tensor, strings: Tensor) -> dict[str, Tensor]:
    """MMD draws the clouds together (paper); a small InfoNCE says whose string is whose (ours)."""
    own = info_nce(sem - sem.mean(0), strings - strings.mean(0))
    return {"mmd": MMD_WEIGHT * mmd2_unbiased(sem, strings), "own": OWN_STRING_WEIGHT * own}


class PeopleWords:
    """What tokens made of whole people should say: a loss on cached features, no picture denoised.

    `tokens_of(users, variants, side)` gives tokens [n, n_tokens, d] and, where the model has one, `e_sem` [n, d_text],
    drawn to the text states of the whole attribute strings.
    """

    def __init__(
        self,
        people: PeopleFeatures,
        text: TextEncoding,
        tokens_of: Callable[[list[int], list[int], str], tuple[Tensor, Tensor | None]],
        sides: Sequence[str] = SIDES,
        align: Alignment = drawn_to_strings,
    ) -> None:
        self.align = align
        self.text, self.tokens_of, self.sides, self.n_people = text, tokens_of, tuple(sides), len(people)
        everyone = [people.person(u).person for u in range(len(people))]
        self.states = word_states(text)
        self.words = {side: word_targets(everyone, self.states, liked=side == "like") for side in sides}
        self.strings = {side: attribute_strings(people, text, side) for side in sides}

    def __call__(self, rng: np.random.Generator, n: int) -> dict[str, Tensor]:
        """`loss`, and its parts, `words` and those of the alignment, for n people drawn by `rng`."""
        users = [int(u) for u in rng.permutation(self.n_people)[:n]]
        variants = [int(v) for v in rng.integers(0, N_VARIANTS, len(users))]
        parts = {"words": torch.zeros(())}
        for side in self.sides:
            tokens, sem = shared(partial(self._said, side), users, variants)
            targets, weights = self.words[side]
            parts["words"] = parts["words"] + word_loss(tokens, targets[users], weights[users])
            if sem is not None:
                for name, loss in self.align(sem.float(), self.strings[side][users]).items():
                    parts[name] = parts.get(name, 0.0) + loss
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def _said(self, side: str, users: list[int], variants: list[int]) -> tuple[Tensor, Tensor | None]:
        return self.tokens_of(users, variants, side)


def _spoken(picture_tokens: Callable[[Tensor, str], Tensor], side: str, embeddings: Tensor) -> Tensor:
    return picture_tokens(embeddings, side)


def word_settings(p: Preset) -> LoopSettings:
    """How long and how fast tokens learn words, ours and a baseline's alike."""
    return LoopSettings(
        n_samples=p.adapter_word_samples,
        batch_size=BATCH,
        learning_rate=1e-3,
        ema_decay=0.995,
        weight_decay=0.05,
        decay_fraction=0.5,
        bf16=False,
    )


def learn_words(
    c: Context,
    name: str,
    module: nn.Module,
    people_words: PeopleWords,
    twins: Twins,
    picture_tokens: Callable[[Tensor, str], Tensor],
    frozen: Sequence[str] = ("text_encoder", "image_encoder", "mllm"),
    seed: int | None = None,
) -> None:
    """Trains `module` so that the tokens of people say their sides' words, and `picture_tokens(embeddings, side)` those
    of one picture each, which has many more words to teach than people have.

    `frozen` names what the features were made by; another `seed` than the preset's draws other batches.
    """
    p = c.preset
    drawn = p.seed if seed is None else seed

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rng = numpy_rng("words", drawn, step)
        parts = people_words(rng, BATCH) | {name: torch.zeros(()) for name in ("pictures", "echo")}
        shown = [int(i) for i in rng.integers(0, len(twins.clip), BATCH)]
        seen = twins.clip[shown].float()
        said = scene_targets([twins.scene(i) for i in shown], people_words.states)
        for side in people_words.sides:
            spoken = shared(partial(_spoken, picture_tokens, side), seen)
            parts["pictures"] = parts["pictures"] + word_loss(spoken, *said)
            parts["echo"] = parts["echo"] + echo_loss(spoken, seen)
        return {**parts, "loss": parts["loss"] + parts["pictures"] + ECHO_WEIGHT * parts["echo"]}

    settings = word_settings(p)
    made_from = fingerprint(*(c.out / part for part in frozen))
    loop = Loop(f"{name}-words", c.work, module, loss, settings, None, made_from=made_from)
    loop.run(c.deadline)
    loop.use_ema()


def encoder_tokens(
    encoder: UserEncoder, people: PeopleFeatures, keep_parts: Sequence[str]
) -> Callable[[list[int], list[int], str], tuple[Tensor, Tensor | None]]:
    """`tokens_of` for a user encoder of which only `keep_parts` are heard: the tokens that say words."""

    def tokens_of(users: list[int], variants: list[int], side: str) -> tuple[Tensor, Tensor | None]:
        parts = encoder.side(side).embed(people.side(users, variants, SIDES.index(side)))
        keep = {part: torch.full((len(users),), part in keep_parts) for part in parts}
        tokens = encoder.side(side).tokens(parts, keep)[:, : encoder.config.word_tokens]
        return tokens, parts["sem"] if "sem" in keep_parts else None

    return tokens_of


def said_tokens(encoder: UserEncoder) -> Callable[[Tensor, str], Tensor]:
    """`picture_tokens` for a user encoder: those that say words, of one picture that is all there is of a side."""
    return lambda embeddings, side: encoder.side(side).picture_tokens(embeddings)[:, : encoder.config.word_tokens]
