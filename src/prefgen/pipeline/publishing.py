"""A model onto the hub: its own files and a card, and nothing of any person.

What goes is chosen file by file from a list of names that a model's parts have. Profiles, pictures, histories and
exported people stand on no such list, wherever in the folder they lie; a weights file that is a profile under another
name is refused.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefgen.core import InputError, ModelError
from prefgen.pipeline.card import read_card
from prefgen.pipeline.hub_card import HubCard, card_of, written
from prefgen.pipeline.loading import OUR_PARTS, check_whole, loaded, pipeline_parts, safetensors_header
from prefgen.pipeline.upload import CARD_PAGE, Upload, title_of, write_files

TOP = ("model_index.json", "prefgen.json", "layers.json")
_CONFIG = re.compile(
    r"(\w+_)?config\.json|[\w.-]+\.safetensors\.index\.json|tokenizer\.(json|model)|spiece\.model|vocab\.(json|txt)"
    r"|merges\.txt|(special_tokens_map|added_tokens|chat_template|calibration|words|user_adapter)\.json"
    r"|chat_template\.jinja"
)
_WEIGHTS = re.compile(r"(model|adapter_model|diffusion_pytorch_model)([.-][\w.-]+)?\.safetensors")
_ADAPTER = ("like.safetensors", "dislike.safetensors")
_PATHS = ("_name_or_path", "name_or_path")
_log = logging.getLogger("prefgen")


class Publishable:
    """The half of `PrefGen` that saves and publishes the files that it was read from."""

    folder: Path | None = None
    """Where the model was read from; None for one made from parts."""

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes the model's files into `folder`, as `from_pretrained` reads them: those it was read from, without
        anything else that lies beside them. What was changed in memory since is not in them.

        Raises:
            ModelError: a model made from parts, or a profile among the files.
        """
        copy_model(self._read_from(), Path(folder))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: HubCard | None = None,
        private: bool = True,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str = "A model of prefgen",
    ) -> str:
        """Uploads what `save_pretrained` writes, and a card, to `someone/their-model`. Returns the commit's address.

        `card` says on what the model was trained, what was measured and under which licence it goes; only presets that
        this package trains have one of their own. A new repository is `private` unless told otherwise.

        Raises:
            InputError: no name of the form `someone/their-model`, or a card without licence or training data.
            ModelError: as above, or the hub refuses; the token is never in the message.
        """
        upload = model_upload(self._read_from(), repo_id, card)
        return upload.push(private=private, token=token, revision=revision, commit_message=commit_message)

    def _read_from(self) -> Path:
        if self.folder is None:
            raise ModelError(
                "expected a model that was read from a folder or the hub, got one made from parts",
                hint="save the parts with their own save_pretrained, then PrefGen.from_pretrained(folder)",
            )
        return self.folder


def model_upload(folder: Path, repo_id: str, card: HubCard | None = None) -> Upload:
    """What `push_to_hub` would upload of the model in a folder. Weights are not loaded, nothing is written or sent.

    Raises:
        InputError: no name of the form `someone/their-model`, or a card without licence or training data.
        ModelError: the model is not whole, or one of its files is a profile.
    """
    title = title_of(repo_id)
    check_whole(folder)
    page = written(card_of(read_card(folder).preset, card), repo_id, title)
    return Upload(repo_id=repo_id, files={**_contents(folder), CARD_PAGE: page.encode()})


def copy_model(folder: Path, to: Path) -> list[str]:
    """Copies a model's own files, and says which by name. Absolute paths of this machine inside configs are left out.

    Raises:
        ModelError: the model is not whole, or one of its files is a profile.
        InputError: `to` holds something already.
    """
    check_whole(folder)
    if to.is_dir() and any(to.iterdir()):
        raise InputError(f"expected a new or empty folder, got {to}, which holds something", hint="give another one")
    files = _contents(folder)
    write_files(files, to)
    return list(files)


def _contents(folder: Path) -> dict[str, Path | bytes]:
    """A model's own files, as they are or without the paths of this machine."""
    found: dict[str, Path | bytes] = {}
    for name in _own_files(folder):
        source = folder / name
        _refuse_taste(source, name)
        found[name] = source
        if source.suffix == ".json" and (cleaned := _without_paths(source)) is not None:
            found[name] = (json.dumps(cleaned, indent=2) + "\n").encode()
            _log.warning("a path of this machine is left out of %s: profiles of the copy are not the original's", name)
    return found


def _own_files(folder: Path) -> Iterator[str]:
    """Names of the files that belong to a model, relative to its folder."""
    yield from (name for name in TOP if (folder / name).is_file())
    for part in dict.fromkeys([*pipeline_parts(folder / "model_index.json"), *OUR_PARTS, "evidence", "mllm/lora"]):
        for path in sorted((folder / part).glob("*")):
            own = _CONFIG.fullmatch(path.name) or _WEIGHTS.fullmatch(path.name)
            if path.is_file() and (own or (part == "adapter" and path.name in _ADAPTER)):
                yield f"{part}/{path.name}"


def _refuse_taste(path: Path, name: str) -> None:
    """Raises `ModelError` for a weights file that holds a profile's pictures or tokens."""
    if path.suffix != ".safetensors":
        return
    _, tensors = loaded(name, lambda: safetensors_header(path))
    if any(key.startswith(("picture.", "tokens.")) for key in tensors):
        raise ModelError(
            f"{name} is a profile, which is never published", hint="put the part's own weights in its place"
        )


def _without_paths(path: Path) -> Mapping[str, Any] | None:
    """A config without absolute paths of this machine; None where it has none."""
    told = loaded(path.name, lambda: json.loads(path.read_text()))
    if not isinstance(told, dict):
        return None
    own = [key for key in _PATHS if isinstance(told.get(key), str) and told[key].startswith(("/", "~", "\\"))]
    own += [key for key in _PATHS if isinstance(told.get(key), str) and re.match(r"[A-Za-z]:[\\/]", told[key])]
    return {key: value for key, value in told.items() if key not in own} if own else None
