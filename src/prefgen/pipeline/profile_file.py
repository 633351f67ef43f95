"""The profile file: one safetensors file, read as if a stranger had sent it.

Tensors: `picture.0000`, … uint8 [height, width, 3] in the order of the history, and `tokens.like`, `tokens.dislike`
float32 [n_rows, n_tokens, d_cross], the cached embedding. One metadata entry, `prefgen.profile`, holds JSON with sorted
keys: `version`, `prefgen`, `model` (sha256 of the model), `kind` (full or shared), `items` (sha256, side, weight,
time_s, aspect, prompt, comment), `edits`, and `of`, the sha256 of the history and edits the tokens were computed from.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from prefgen import __version__
from prefgen.core import ASPECTS, History, HistoryItem, InputError, ProfileError
from prefgen.history import MAX_TEXT_LETTERS, MAX_WEIGHT
from prefgen.pipeline.stored import MAX_ITEMS, MAX_STORED_PX
from prefgen.pipeline.word_edits import WordEdits

FORMAT_VERSION = 2
MAX_FILE_BYTES = 512 * 2**20
_MAX_HEADER_BYTES = 16 * 2**20
_MOST = (64, 1024, 32_768)
"""Rows, tokens and width of an embedding, at most."""
_KEY = "prefgen.profile"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ITEM_KEYS = {"sha256", "side", "weight", "time_s", "aspect", "prompt", "comment"}
_REBUILD = "prefgen profile rebuild FILE"


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What a profile file holds. `history` is None in a shared one; `tokens` maps like and dislike to
    [n_rows, n_tokens, d]."""

    model_sha256: str
    history: History | None
    edits: WordEdits
    tokens: Mapping[str, np.ndarray] | None


def history_bytes(history: History, edits: WordEdits) -> bytes:
    """The canonical bytes of a history and its word edits: equal for equal tastes, and for no others."""
    sizes = [item.image.size for item in history.items]
    head = _json({"items": [_item_json(item) for item in history.items], "sizes": sizes, "edits": edits.to_json()})
    return b"\n".join([head.encode(), *(item.image.tobytes() for item in history.items)])


def digest_of(contents: Contents) -> str:
    """Sha256 (hex) of the taste: of history and edits, or, in a shared profile, of the tokens."""
    if contents.history is not None:
        return hashlib.sha256(history_bytes(contents.history, contents.edits)).hexdigest()
    tokens = contents.tokens or {}
    return hashlib.sha256(b"".join(tokens[side].tobytes() for side in sorted(tokens))).hexdigest()


def pack(contents: Contents) -> bytes:
    """The file's bytes; the same contents give the same bytes."""
    tensors: dict[str, np.ndarray] = {}
    told: dict[str, Any] = {"version": FORMAT_VERSION, "prefgen": __version__, "model": contents.model_sha256}
    if contents.history is None:
        told["kind"] = "shared"
    else:
        items = contents.history.items
        tensors = {f"picture.{place:04d}": np.array(item.image) for place, item in enumerate(items)}
        told |= {"kind": "full", "items": [_item_json(item) for item in items], "edits": contents.edits.to_json()}
    if contents.tokens is not None:
        tensors |= {f"tokens.{side}": np.ascontiguousarray(value) for side, value in contents.tokens.items()}
        told["of"] = digest_of(contents)
    return save_tensors(tensors, metadata={_KEY: _json(told)})


def unpack(data: bytes, *, any_version: bool = False) -> Contents:
    """What `pack` wrote.

    `any_version` reads what it can of another version's file and leaves its tokens out: for a rebuild.

    Raises:
        ProfileError: damaged, of another version, or no profile at all.
    """
    header = _header(data)
    told = _told(header)
    version = told.get("version")
    if version != FORMAT_VERSION and not any_version:
        raise ProfileError(f"expected a profile of version {FORMAT_VERSION}, got version {version!r}", hint=_REBUILD)
    _check_tensors(header, tokens_matter=version == FORMAT_VERSION)
    try:
        tensors = load_tensors(data)
    except Exception as error:  # a hostile file makes decoders raise nearly anything
        raise ProfileError(f"the profile is damaged: {str(error).splitlines()[0]}") from error
    model = told.get("model")
    if not (isinstance(model, str) and _SHA256.fullmatch(model)):
        raise _damaged("it does not say which model made it")
    kind = told.get("kind")
    if kind not in ("full", "shared"):
        raise _damaged(f"expected the kind full or shared, got {kind!r}")
    tokens = None if version != FORMAT_VERSION else _tokens(tensors)
    if kind == "shared":
        if tokens is None:
            raise _damaged("a shared profile without tokens")
        contents = Contents(model_sha256=model, history=None, edits=WordEdits(), tokens=tokens)
    else:
        history = _history(told.get("items"), tensors)
        contents = Contents(model_sha256=model, history=history, edits=_edits(told.get("edits")), tokens=tokens)
    if tokens is not None and told.get("of") != digest_of(contents):
        raise _damaged("its embedding was not computed from its pictures")
    return contents


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _damaged(what: str) -> ProfileError:
    return ProfileError(f"the profile is damaged: {what}", hint="make it again: prefgen profile build")


def _item_json(item: HistoryItem) -> dict[str, Any]:
    return {name: getattr(item, name) for name in sorted(_ITEM_KEYS)}


def _header(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_FILE_BYTES:
        raise ProfileError(f"expected a profile of at most {MAX_FILE_BYTES >> 20} MiB, got {len(data) >> 20}")
    n = int.from_bytes(data[:8], "little")
    if len(data) < 10 or not 2 <= n <= min(len(data) - 8, _MAX_HEADER_BYTES):
        raise ProfileError("the file is no profile, or is cut short", hint="expected a file of `prefgen profile build`")
    try:
        header = json.loads(data[8 : 8 + n])
    except (ValueError, RecursionError) as error:
        raise ProfileError("the file is no profile: its header cannot be read") from error
    if not isinstance(header, dict):
        raise ProfileError("the file is no profile: its header cannot be read")
    return header


def _told(header: Mapping[str, Any]) -> dict[str, Any]:
    metadata = header.get("__metadata__")
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ProfileError("the safetensors file is no profile", hint="expected a file of `prefgen profile build`")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged("its description cannot be read") from error
    if not isinstance(told, dict):
        raise _damaged("its description cannot be read")
    return told


def _check_tensors(header: Mapping[str, Any], *, tokens_matter: bool) -> None:
    """Names, types and sizes, before anything is allocated for them. Tokens that do not matter, another version's, may
    be of another layout, but not larger than ours could be."""
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape, dtype = (entry.get("shape"), entry.get("dtype")) if isinstance(entry, dict) else (None, None)
        if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
            raise _damaged(f"the shape of {name[:40]!r}")
        if name.startswith("picture."):
            fits = dtype == "U8" and len(shape) == 3 and shape[2] == 3 and max(shape[:2]) <= MAX_STORED_PX
        else:
            fits = name in ("tokens.like", "tokens.dislike") and dtype == "F32"
            laid_out = len(shape) == 3 and all(n <= most for n, most in zip(shape, _MOST))
            fits = fits and (laid_out or (not tokens_matter and math.prod(shape) <= math.prod(_MOST)))
        if not fits:
            raise _damaged(f"{name[:40]!r} of type {str(dtype)[:10]} and shape {str(shape)[:60]} belongs in no profile")


def _tokens(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    tokens = {side: tensors[f"tokens.{side}"] for side in ("like", "dislike") if f"tokens.{side}" in tensors}
    if not tokens:
        return None
    if len(tokens) != 2 or tokens["like"].shape != tokens["dislike"].shape:
        raise _damaged("the tokens of likes and dislikes do not fit each other")
    if not all(np.isfinite(value).all() for value in tokens.values()):
        raise _damaged("its tokens are not numbers")
    return tokens


def _history(entries: object, tensors: Mapping[str, np.ndarray]) -> History:
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ITEMS:
        raise _damaged(f"expected 1 to {MAX_ITEMS} pictures")
    n_pictures = sum(name.startswith("picture.") for name in tensors)
    if n_pictures != len(entries):
        raise _damaged(f"{len(entries)} opinions for {n_pictures} pictures")
    items = []
    for place, entry in enumerate(entries):
        pixels = tensors.get(f"picture.{place:04d}")
        if pixels is None:
            raise _damaged(f"picture {place} is missing")
        items.append(_item(entry, Image.fromarray(pixels), place))
    if len({item.sha256 for item in items}) != len(items):
        raise _damaged("the same picture stands in it twice")
    return History(items=tuple(items))


def _item(entry: object, image: Image.Image, place: int) -> HistoryItem:
    if not isinstance(entry, dict) or set(entry) != _ITEM_KEYS:
        raise _damaged(f"the entry of picture {place}")
    checks = {
        "sha256": isinstance(entry["sha256"], str) and bool(_SHA256.fullmatch(entry["sha256"])),
        "side": entry["side"] in ("like", "dislike"),
        "weight": _is_number(entry["weight"]) and 0 < entry["weight"] <= MAX_WEIGHT,
        "time_s": entry["time_s"] is None or _is_number(entry["time_s"]),
        "aspect": entry["aspect"] in ASPECTS,
        "prompt": _is_text(entry["prompt"]),
        "comment": _is_text(entry["comment"]),
    }
    if wrong := [name for name, fits in checks.items() if not fits]:
        raise _damaged(f"the {wrong[0]} of picture {place}")
    return HistoryItem(image=image, **entry)


def _edits(value: object) -> WordEdits:
    try:
        if not isinstance(value, dict) or set(value) != {"like", "dislike", "forget"}:
            raise _damaged("its word edits")
        if not all(isinstance(words, list) and len(words) <= MAX_ITEMS for words in value.values()):
            raise _damaged("its word edits")
        return WordEdits.from_json(value)
    except InputError as error:
        raise _damaged(f"its word edits: {error.message}") from error


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return value is None
    return len(value) <= MAX_TEXT_LETTERS and not any("\ud800" <= letter <= "\udfff" for letter in value)
