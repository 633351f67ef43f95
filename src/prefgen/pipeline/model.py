"""`PrefGen`: the whole chain behind one object, in the vocabulary of diffusers."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prefgen.adapter import UserAdapter, UserTokens, concatenate_users, facet_of, load_adapter, network_of
from prefgen.core import History, InputError, ModelError, ProfileError
from prefgen.diffusion import sample
from prefgen.embedding import TasteEvidence, UserEncoder
from prefgen.history import PerPicture, PictureSource, history_from_items, load_picture
from prefgen.pipeline.card import ModelCard, hash_of_folder, read_card
from prefgen.pipeline.embed import EMBEDDING_VERSION, Encoders, person_tokens, picture_features, words_of_person
from prefgen.pipeline.explanation import Explanation, explanation
from prefgen.pipeline.known import Familiarity, familiarity
from prefgen.pipeline.loading import (
    check_whole,
    device_named,
    dtype_named,
    folder_of,
    load_evidence,
    load_image_encoder,
    load_mllm,
    load_pipeline,
    loaded,
)
from prefgen.pipeline.ports import PreferenceModel, notes_for
from prefgen.pipeline.profile import Profile, warn_of_dropped
from prefgen.pipeline.publishing import Publishable
from prefgen.pipeline.scoring import likings, own_reading
from prefgen.pipeline.seeding import Seeding
from prefgen.pipeline.settings import OutputType, check_pipeline_settings, open_branch, sampling_settings
from prefgen.pipeline.stored import MAX_STORED_PX, stored_history, stored_picture
from prefgen.pipeline.texts import n_unheard, pooled_texts, word_places
from prefgen.pipeline.word_edits import NO_EDITS, WordEdits
from prefgen.pipeline.words import UnknownWord, unknown_words, warning_of

if TYPE_CHECKING:
    from prefgen.diffusion.sampling import StepCallback

_N_CACHED = 256
_log = logging.getLogger("prefgen")


@dataclass(frozen=True, kw_only=True, eq=False)
class PrefGenOutput:
    """`images`: a list of PIL images, or an array or tensor as `output_type` asks; `seeds`: one for each picture."""

    images: Any
    seeds: tuple[int, ...]


class PrefGen(Publishable):
    """Paints for one particular person, tells which pictures they would like, and says why in words.

    Threads may share a model: they take turns, since a person is heard through the one network all of them use.

    ```python
    model = PrefGen.from_pretrained("embedded")
    me = model.profile(liked=["a.png", "b.png"], disliked=["c.png"])
    pictures = model("a fox by a lake", profile=me, num_images_per_prompt=4, seed=7).images
    ```
    """

    def __init__(
        self,
        *,
        pipe: Any,
        adapter: UserAdapter,
        user_encoder: UserEncoder,
        image_encoder: Any,
        feature_extractor: Any,
        mllm: PreferenceModel | Callable[[], PreferenceModel],
        evidence: TasteEvidence | None = None,
        card: ModelCard | None = None,
        sha256: str,
    ) -> None:
        """From parts (`from_pretrained` reads them). `mllm` may be a function, which is called when it is first needed;
        without `evidence` it alone says what a person likes.

        `sha256` is the name by which profiles know this model.
        """
        self.pipe = pipe
        self.adapter = adapter
        self.user_encoder = user_encoder
        self.image_encoder = image_encoder
        self.feature_extractor = feature_extractor
        self.evidence = evidence
        self.card = card or ModelCard()
        self.sha256 = sha256
        self._mllm = mllm
        self._tokens: dict[str, UserTokens] = {}
        self._turn = threading.RLock()
        self._paints = False
        if user_encoder.config.d_cross != adapter.d_cross:
            wide = user_encoder.config.d_cross
            raise ModelError(f"user tokens of width {wide} do not fit the adapter's {adapter.d_cross}")
        seen = user_encoder.config.d_clip
        if evidence is not None and evidence.config.d_clip != seen:
            raise ModelError(f"evidence of embeddings of width {evidence.config.d_clip} does not fit those of {seen}")

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "embedded",
        *,
        device: str = "auto",
        dtype: str | torch.dtype = "float32",
        mllm: PreferenceModel | None = None,
        **hub: Any,
    ) -> PrefGen:
        """Loads the model that ships with the package (`embedded`), a model folder, or one from the hub.

        `device` is auto, cpu, cuda or mps. `dtype` is the generator's; CLIP and user encoder stay in float32. `mllm`
        stands in for the folder's own preference model (profiles know such a model by another name). `hub` arguments:
        `revision`, `token`, `cache_dir`, `local_files_only`.

        Raises:
            ModelError: there is no such model, or it is not whole; the message names what is missing.
        """
        where, kind = device_named(device), dtype_named(dtype)
        folder = folder_of(name, **hub)
        check_whole(folder, needs_mllm=mllm is None)
        card = read_card(folder)
        pipe = load_pipeline(folder, where, kind)
        image_encoder, feature_extractor = load_image_encoder(folder, where)
        adapter = loaded("adapter", lambda: load_adapter(folder / "adapter", network_of(pipe)))
        user_encoder = loaded("user_encoder", lambda: UserEncoder.load(folder / "user_encoder"))
        evidence = load_evidence(folder, where) if mllm is None else None
        made = cls(
            pipe=pipe,
            adapter=adapter.to(where, kind).requires_grad_(False),
            user_encoder=user_encoder.to(where).requires_grad_(False),
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
            mllm=mllm or (lambda: load_mllm(folder, where, kind)),
            evidence=evidence,
            card=card,
            sha256=hash_of_folder(folder, EMBEDDING_VERSION, *([] if mllm is None else [_name_of(mllm)])),
        )
        made.folder = folder
        return made

    @property
    def device(self) -> torch.device:
        """Where the generator runs."""
        return self.pipe.device

    @property
    def mllm(self) -> PreferenceModel:
        """The preference model, loaded when first needed."""
        if isinstance(self._mllm, type) or not hasattr(self._mllm, "encode"):
            self._mllm = self._mllm()  # pyright: ignore[reportCallIssue]
        return self._mllm  # pyright: ignore[reportReturnType]

    @cached_property
    def encoders(self) -> Encoders:
        """Everything that looks at a history."""
        return Encoders(
            mllm=self.mllm,
            image_encoder=self.image_encoder,
            feature_extractor=self.feature_extractor,
            user_encoder=self.user_encoder,
            text_embedding=self.text_embedding,
            evidence=self.evidence,
        )

    def text_embedding(self, texts: Sequence[str]) -> Tensor:
        """The text encoder's pooled embeddings, float32 [n, d_text]: the space that `ê_sem` is aligned to."""
        with self._turn:  # a call of the tokenizer sets its padding for everybody
            return pooled_texts(self.pipe, texts, self.user_encoder.config.d_text)

    def profile(
        self,
        liked: Iterable[PictureSource] | None = None,
        disliked: Iterable[PictureSource] | None = None,
        *,
        prompts: PerPicture = None,
        comments: PerPicture = None,
        times: PerPicture = None,
        weights: PerPicture = None,
        aspects: PerPicture = None,
        history: History | None = None,
    ) -> Profile:
        """A person's profile from PIL images or paths, or from a `History`; at least one picture on either side.

        Optional values run parallel to the pictures: `{"liked": [...], "disliked": [...]}`, or one list over the liked
        and then the disliked. Pictures are kept at 256 pixels a side at most.
        """
        values = {"prompts": prompts, "comments": comments, "times": times, "weights": weights, "aspects": aspects}
        if history is None:
            history = history_from_items(liked, disliked, longest_px=MAX_STORED_PX, **values)
        elif liked is not None or disliked is not None or any(value is not None for value in values.values()):
            raise InputError("expected pictures or a history, got both")
        if history.n_dropped_conflicts:
            warn_of_dropped(history.n_dropped_conflicts)
        return self.with_embedding(Profile(model_sha256=self.sha256, history=stored_history(history)))

    def embed(self, profile: Profile) -> UserTokens:
        """A profile's embedding, a row of user tokens for the whole taste and one for each facet: a pure function of
        history, edits and model.

        It is taken from the profile or from an earlier call where one of them has it.

        Raises:
            ProfileError: the profile is another model's.
        """
        self._check_is_ours(profile)
        if profile.tokens is not None:
            return profile.tokens
        digest = profile.digest
        with self._turn:
            tokens = self._tokens.pop(digest, None)
            if tokens is None:
                tokens = person_tokens(profile.pictures(), profile.edits, self.encoders)
            self._tokens[digest] = tokens  # at the end again: the first one in is the longest unused
            if len(self._tokens) > _N_CACHED:
                del self._tokens[next(iter(self._tokens))]
        return tokens

    def with_embedding(self, profile: Profile) -> Profile:
        """The profile with its embedding inside, ready to be saved or shared."""
        return profile.with_tokens(self.embed(profile))

    def rebuild(self, profile: Profile | str | os.PathLike[str]) -> Profile:
        """Another model's or version's profile, or its file, as this model's, embedded anew from its pictures."""
        if not isinstance(profile, Profile):
            profile = Profile.load(profile, any_version=True)
        history = stored_history(profile.pictures("rebuild it"))
        return self.with_embedding(Profile(model_sha256=self.sha256, history=history, edits=profile.edits))

    def __call__(
        self,
        prompt: str | Sequence[str],
        profile: Profile | Sequence[Profile | None] | None = None,
        *,
        negative_prompt: str | Sequence[str] | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | Sequence[int] | None = None,
        like_strength: float | None = None,
        dislike_strength: float | None = None,
        user_start: float | None = None,
        user_end: float | None = None,
        variety: float | None = None,
        user_guidance_scale: float | None = None,
        callback_on_step_end: StepCallback | None = None,
        output_type: OutputType = "pil",
        batch_size: int = 16,
        **pipeline_arguments: Any,
    ) -> PrefGenOutput:
        """Paints. The first argument's pictures come first: prompt by prompt, `num_images_per_prompt` of each.

        `profile` is one person for all prompts, or one (or None) for each; None is the plain pipeline, and so are
        strengths of 0. A picture depends on its own prompt, person and seed alone: give one generator a picture, or one
        from which a seed is drawn for each, or `seed` (seed, seed + 1, …; or one each). What is left out is the model's
        default (`model.card.default`). `variety` is the share of seeds, 0 to 1, that show one facet of the taste (what
        one liked picture and those like it have in common) in place of all of it; without it who likes two things gets
        the commoner one. `user_guidance_scale` guides towards the person separately, at half as much work again. The
        rest is as in diffusers; with FLUX `true_cfg_scale` above 1, here or in the model's default, lets dislikes be
        heard. `batch_size` bounds how many pictures are painted at once.

        Raises:
            InputError: counts that do not fit each other, or a call from another call's `callback_on_step_end`.
            ConfigError: a setting that is no number, or that the pipeline does not know.
        """
        n = num_images_per_prompt
        if n < 1 or batch_size < 1:
            raise InputError(f"expected num_images_per_prompt and batch_size of 1 or more, got {n} and {batch_size}")
        prompts = _texts(prompt, "prompts")
        settings = sampling_settings(
            self.card.default,
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            like_strength=like_strength,
            dislike_strength=dislike_strength,
            user_start=user_start,
            user_end=user_end,
            variety=variety,
        )
        share = settings.pop("variety")
        people = self._people(profile, len(prompts), n)
        check_pipeline_settings(self.pipe, output_type, user_guidance_scale, pipeline_arguments)
        against, arguments = open_branch(self.pipe, self.card.default, negative_prompt, pipeline_arguments)
        negatives = None if against is None else _per_prompt(against, len(prompts), n)
        seeding = Seeding.of(len(prompts) * n, generator=generator, seed=seed)
        heard = [None if who is None else facet_of(who, one, share) for who, one in zip(people, seeding.seeds)]
        told = [*prompts, *(negatives or ())]
        prompts = [text for text in prompts for _ in range(n)]

        def painted(part: slice) -> Any:
            return sample(
                self.pipe,
                self.adapter,
                prompts[part],
                _rows(heard, part),
                generators=seeding.generators[part],
                negative_prompt=None if negatives is None else negatives[part],
                user_guidance_scale=user_guidance_scale,
                callback_on_step_end=callback_on_step_end,
                output_type=output_type,  # pyright: ignore[reportArgumentType]
                **settings,
                **arguments,
            )

        with self._painting():
            self._warn_of_unknown_words(told, pipeline_arguments.get("max_sequence_length"))
            made = [painted(slice(start, start + batch_size)) for start in range(0, len(prompts), batch_size)]
        return PrefGenOutput(images=_joined(made), seeds=seeding.seeds)

    def score(self, profile: Profile, images: Sequence[PictureSource]) -> list[float]:
        """P(this person likes the picture), for each of the pictures (PIL images or paths)."""
        self._check_is_ours(profile)
        return self.score_history(profile.pictures("score pictures with it"), images, edits=profile.edits)

    def score_history(
        self, history: History, images: Sequence[PictureSource], *, edits: WordEdits = NO_EDITS
    ) -> list[float]:
        """`score` by a history that is kept nowhere; one without pictures is somebody nothing is known of."""
        if isinstance(images, (str, os.PathLike, Image.Image)):
            raise InputError("expected a list of pictures or paths, got one", hint="write [picture]")
        pictures = [stored_picture(load_picture(image)) for image in images]
        if not pictures:
            return []
        with self._turn:
            return likings(
                history,
                self._features([item.image for item in history.items]),
                pictures,
                self._features(pictures),
                edits,
                self.mllm,
                self.evidence,
            )

    def _features(self, pictures: Sequence[Image.Image]) -> Tensor:
        """CLIP embeddings [n, d_clip] where evidence reads them, rows of nothing where nobody does."""
        if self.evidence is None or not pictures:
            return torch.zeros(len(pictures), 0 if self.evidence is None else self.evidence.config.d_clip)
        return picture_features(pictures, self.image_encoder, self.feature_extractor)

    def explain(self, profile: Profile) -> Explanation:
        """What was understood of a person: likes and dislikes in words, with weights and confidence."""
        self._check_is_ours(profile)
        history = profile.pictures("explain it")
        with self._turn:
            if self.user_encoder.config.election_width and self._vocabulary:
                found = words_of_person(
                    history, profile.edits, self.encoders, self._vocabulary, *self._vocabulary_states
                )
            else:
                found = self.mllm.explain(history, **notes_for(self.mllm.explain, profile.edits))
        return explanation(found, profile.edits)

    @property
    def _vocabulary(self) -> tuple[str, ...]:
        """The words of taste that the preference model's folder lists."""
        return tuple(word for word, _ in getattr(self.mllm, "words", ()))

    @cached_property
    def _vocabulary_states(self) -> tuple[Tensor, Tensor]:
        """Where those words, and silence, lie among the generator's own text states."""

        return word_places(self.pipe, self._vocabulary)

    def familiarity(self, profile: Profile) -> Familiarity | None:
        """How far a profile's pictures lie from what the model knows; None if the model does not say what it knows."""
        if not self.card.known_features:
            return None
        pictures = [item.image for item in profile.pictures().items]
        return familiarity(
            picture_features(pictures, self.image_encoder, self.feature_extractor), self.card.known_features
        )

    def credence(self, profile: Profile) -> float | None:
        """How far `score` believes the models of this person, 0 to 1, by whether they foresee the profile's own labels;
        for the rest it goes by the profile's pictures alone. None where the model keeps no evidence of taste."""
        if self.evidence is None:
            return None
        history = profile.pictures("say how far it is understood")
        features = self._features([item.image for item in history.items])
        with self._turn:
            return own_reading(history, features, [], features[:0], self.evidence).credence

    def unknown_words(self, prompt: str | Sequence[str]) -> list[UnknownWord]:
        """The words of a prompt that the generator was never taught, with the nearest known ones."""
        return unknown_words(prompt, self.card.words)

    def told_of(self, profile: Profile | None, prompt: str, seed: int, **settings: object) -> dict[str, object]:
        """What a picture file should tell: prompt, seed, settings, and the hashes of profile and model."""
        told: dict[str, object] = {"prompt": prompt, "seed": seed, **self.card.default.told()}
        told |= {name: value for name, value in settings.items() if value is not None}
        return told | {"profile": None if profile is None else profile.digest, "model": self.sha256}

    def __repr__(self) -> str:
        name = self.card.preset or type(self.pipe).__name__
        return f"PrefGen({name}, {self.sha256[:8]}, on {self.device})"

    def _check_is_ours(self, profile: Profile) -> None:
        if not isinstance(profile, Profile):
            hint = "read a file with Profile.load, or make a profile with model.profile(liked=[...])"
            raise InputError(f"expected a Profile, got {type(profile).__name__}", hint=hint)
        if profile.model_sha256 != self.sha256:
            raise ProfileError(
                f"the profile was made by the model {profile.model_sha256[:8]}, this is {self.sha256[:8]}",
                hint="prefgen profile rebuild FILE (or model.rebuild(profile)) reads its pictures again",
            )
        config, tokens = self.user_encoder.config, profile.tokens
        shape = (config.n_tokens, config.d_cross)
        if tokens is not None and not all(
            t is not None and t.shape[1:] == shape for t in (tokens.like, tokens.dislike)
        ):
            raise ProfileError("the profile's tokens do not fit the model", hint="prefgen profile rebuild FILE")

    def _people(self, profile: object, n_prompts: int, n_images: int) -> list[UserTokens | None]:
        """The tokens of whom each picture is for, or None."""
        if profile is None or isinstance(profile, Profile):
            people = [profile] * n_prompts
        elif isinstance(profile, Sequence) and not isinstance(profile, str):
            people = list(profile)
        else:
            raise InputError(f"expected a Profile or a list of them, got {type(profile).__name__}")
        if len(people) != n_prompts:
            raise InputError(f"expected one profile for each of {n_prompts} prompts, got {len(people)}")
        tokens = [None if person is None else self.embed(person) for person in people]
        return [row for row in tokens for _ in range(n_images)]

    @contextmanager
    def _painting(self) -> Iterator[None]:
        """One call's turn. Raises `InputError` for a call from inside another one."""
        with self._turn:
            if self._paints:
                got = "a call from another call's `callback_on_step_end`"
                raise InputError(f"expected one call after another, got {got}", hint="let one call end before the next")
            self._paints = True
            try:
                yield
            finally:
                self._paints = False

    def _warn_of_unknown_words(self, prompts: Sequence[str], longest_text: int | None) -> None:
        for unknown in self.unknown_words(prompts):
            _log.warning(warning_of(unknown))
        for prompt in dict.fromkeys(prompts):
            n, unheard = n_unheard(self.pipe, prompt, longest_text)
            if unheard:
                _log.warning("the prompt has %d tokens, the last %d of them are not heard", n, unheard)


def _name_of(mllm: PreferenceModel) -> str:
    """What a preference model from elsewhere adds to the name by which profiles know a model."""
    return str(getattr(mllm, "sha256", type(mllm).__qualname__))


def _texts(value: object, what: str) -> list[str]:
    texts = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f"expected a text or a list of texts as {what}, got {type(value).__name__}")
    return texts


def _per_prompt(value: str | Sequence[str], n_prompts: int, n_images: int) -> list[str]:
    texts = [value] * n_prompts if isinstance(value, str) else list(value)
    if len(texts) != n_prompts:
        raise InputError(f"expected one negative prompt for each of {n_prompts} prompts, got {len(texts)}")
    return [text for text in texts for _ in range(n_images)]


def _rows(people: Sequence[UserTokens | None], part: slice) -> UserTokens | None:
    rows = people[part]
    return concatenate_users(rows) if any(row is not None for row in rows) else None


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], list):
        return [image for part in parts for image in part]
    return torch.cat(parts) if isinstance(parts[0], Tensor) else np.concatenate(parts)
