"""A person's taste as a value: it can be extended, taken back, saved, shared, and outlive the model that read it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from prefgen.adapter import UserTokens
from prefgen.core import History, HistoryItem, InputError, ProfileError
from prefgen.history import PerPicture, PictureSource, history_from_items
from prefgen.pipeline.atomic import write_whole
from prefgen.pipeline.profile_file import MAX_FILE_BYTES, Contents, digest_of, history_bytes, pack, unpack
from prefgen.pipeline.stored import MAX_ITEMS, MAX_STORED_PX, find_item, stored_history
from prefgen.pipeline.word_edits import NO_EDITS, WordEdits

_log = logging.getLogger("prefgen")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Profile:
    """What one person likes and dislikes, made by `PrefGen.profile` or read by `Profile.load`. It never changes.

    `history` holds small copies of the pictures and is None in a shared profile; `tokens` is the cached embedding, a
    `UserTokens` on the CPU in float32 (first the whole taste, then its facets), or None until a model computes it. It
    is a pure function of model, history and edits.
    """

    model_sha256: str
    history: History | None
    edits: WordEdits = NO_EDITS
    tokens: UserTokens | None = None

    @property
    def is_shared(self) -> bool:
        """Whether this profile can paint but holds no pictures."""
        return self.history is None

    @property
    def digest(self) -> str:
        """Sha256 (hex) of the taste itself; the model plays no part in it."""
        return digest_of(self._contents())

    def add(
        self,
        liked: Iterable[PictureSource] | None = None,
        disliked: Iterable[PictureSource] | None = None,
        *,
        prompts: PerPicture = None,
        comments: PerPicture = None,
        times: PerPicture = None,
        weights: PerPicture = None,
        aspects: PerPicture = None,
    ) -> Profile:
        """A profile with more pictures at the end of its history; the values are as in `PrefGen.profile`.

        An opinion on a picture that is there already replaces the old one, unless both have a time and the old one's is
        later. No model is needed: the embedding is computed when it is next used.
        """
        values = {"prompts": prompts, "comments": comments, "times": times, "weights": weights, "aspects": aspects}
        return self.add_history(history_from_items(liked, disliked, longest_px=MAX_STORED_PX, **values))

    def add_history(self, more: History) -> Profile:
        """A profile with the items of another history at the end of its own; see `add`."""
        there = self.pictures("add to it").items
        if more.n_dropped_conflicts:
            warn_of_dropped(more.n_dropped_conflicts)
        known = {item.sha256: item for item in there}
        fresh = [item for item in stored_history(more).items if _replaces(item, known.get(item.sha256))]
        replaced = {item.sha256 for item in fresh}
        return self._with_items([item for item in there if item.sha256 not in replaced] + fresh)

    def remove(self, image: PictureSource) -> Profile:
        """A profile without this picture (a PIL image, a path, or the first digits of its content hash).

        Raises:
            InputError: the picture is not in the profile, or is its last one.
        """
        history = self.pictures("remove from it")
        place = find_item(history, image)
        if len(history) == 1:
            raise InputError("a profile keeps at least one picture", hint="add another one first, or make a new one")
        return self._with_items([item for other, item in enumerate(history.items) if other != place])

    def edit(self, *, like: Iterable[str] = (), dislike: Iterable[str] = (), forget: Iterable[str] = ()) -> Profile:
        """A profile with words said of it: `me.edit(like=["gold"], forget=["ink"])`. The last thing said stands."""
        self.pictures("edit it")
        return replace(self, edits=self.edits.edited(like=like, dislike=dislike, forget=forget), tokens=None)

    def share(self) -> Profile:
        """A profile that any holder of the model can paint with, and that holds no picture, prompt, comment or word.

        Raises:
            ProfileError: the embedding has not been computed yet.
        """
        if self.tokens is None:
            raise ProfileError(
                "the profile has no embedding yet", hint="share what `model.with_embedding(profile)` returns"
            )
        return Profile(model_sha256=self.model_sha256, history=None, tokens=self.tokens)

    def with_tokens(self, tokens: UserTokens) -> Profile:
        """The same taste with its embedding."""
        return replace(self, tokens=tokens)

    def pictures(self, purpose: str = "look at it") -> History:
        """The history. Raises `ProfileError` if this profile was shared without one."""
        if self.history is None:
            raise ProfileError(
                f"a shared profile holds no pictures, so nobody can {purpose}; it can only paint",
                hint="ask its owner for the full profile",
            )
        return self.history

    def history_bytes(self) -> bytes:
        """The canonical bytes of history and word edits: equal for equal tastes."""
        return history_bytes(self.pictures(), self.edits)

    def to_bytes(self) -> bytes:
        """The profile file's bytes: a pure function of the profile."""
        return pack(self._contents())

    @classmethod
    def from_bytes(cls, data: bytes, *, any_version: bool = False) -> Profile:
        """The inverse of `to_bytes`. `any_version` reads another version's pictures too: for `PrefGen.rebuild`.

        Raises:
            ProfileError: damaged, of another version, or no profile at all.
        """
        contents = unpack(data, any_version=any_version)
        tokens = None
        if contents.tokens is not None:
            like, dislike = (torch.from_numpy(contents.tokens[side].copy()) for side in ("like", "dislike"))
            tokens = UserTokens(like=like, dislike=dislike)
        return cls(model_sha256=contents.model_sha256, history=contents.history, edits=contents.edits, tokens=tokens)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file whole or not at all, readable by its owner alone if it is new.

        Raises:
            InputError: the file cannot be written, or the profile holds more than a file may.
        """
        data = self.to_bytes()
        try:
            Profile.from_bytes(data)
        except ProfileError as error:
            raise InputError(f"the profile cannot be kept: {error.message}") from error
        try:
            write_whole(Path(path), data, private=True)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, any_version: bool = False) -> Profile:
        """Reads what `save` wrote. Raises `ProfileError`, which names the file."""
        source = Path(path)
        try:
            if source.stat().st_size > MAX_FILE_BYTES:
                raise ProfileError(f"{source}: too large for a profile")
            data = source.read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ProfileError(f"the profile {source} cannot be read: {reason}") from error
        try:
            return cls.from_bytes(data, any_version=any_version)
        except ProfileError as error:
            raise ProfileError(f"{source}: {error.message}", hint=error.hint) from error

    def __len__(self) -> int:
        return 0 if self.history is None else len(self.history)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        if self.history is None:
            return f"Profile(shared, model={self.model_sha256[:8]})"
        n_liked, n_disliked = len(self.history.liked), len(self.history.disliked)
        return f"Profile({self.digest[:8]}: {n_liked} liked, {n_disliked} disliked, model={self.model_sha256[:8]})"

    def _with_items(self, items: list[HistoryItem]) -> Profile:
        if len(items) > MAX_ITEMS:
            raise InputError(f"expected at most {MAX_ITEMS} pictures in a profile, got {len(items)}")
        return replace(self, history=History(items=tuple(items)), tokens=None)

    def _contents(self) -> Contents:
        tokens = None
        if self.tokens is not None and self.tokens.like is not None and self.tokens.dislike is not None:
            tokens = {"like": self.tokens.like.numpy(), "dislike": self.tokens.dislike.numpy()}
        return Contents(model_sha256=self.model_sha256, history=self.history, edits=self.edits, tokens=tokens)


def warn_of_dropped(n: int) -> None:
    """Says how many pictures were left out because their opinions contradict each other."""
    _log.warning("%d pictures were both liked and disliked, or ties, and are left out", n)


def _replaces(new: HistoryItem, old: HistoryItem | None) -> bool:
    """Whether an opinion takes the place of an earlier one on the same picture."""
    if old is None:
        return True
    return new != old and (new.time_s is None or old.time_s is None or new.time_s >= old.time_s)
