"""Models by their name on the hub: had, or one line that says why not and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.core import ModelError, nearest_hint
from prefgen.core.secrets import without_secrets

EMBEDDED = "embedded"
PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "several_people.py")


def is_hub_name(text: str) -> bool:
    """Whether a text has the form `someone/their-model`."""
    return text.count("/") == 1 and not text.startswith((".", "/", "~")) and not text.endswith("/")


def hub_arguments(**hub: Any) -> dict[str, Any]:
    """`hub`, and `local_files_only` where `HF_HUB_OFFLINE` says that there is no network."""
    from huggingface_hub import constants

    return {"local_files_only": True, **hub} if constants.HF_HUB_OFFLINE else hub


def from_hub(name: str, hub: Mapping[str, Any], what: str = "model") -> Path:
    """The folder of a name's files on this machine, downloaded if need be.

    Where a download was cut off and cannot go on, the folder is handed back as it is: whoever reads it says what is
    missing.

    Raises:
        ModelError: there is no such name, or it cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(PATTERNS), **hub_arguments(**hub)))
    except Exception as error:  # no network, no space, no such revision: the hub client has an error for each
        part = getattr(error, "snapshot_path", None)
        if part is not None:
            return Path(part)
        token = hub.get("token")
        hint = nearest_model(name, hub) or f"check the name; for a private {what} give a token"
        failure = unreachable(what, name, error, hint, token=token, local_only=hub.get("local_files_only"))
        raise failure from _without_token(error, token)


def nearest_model(name: str, hub: Mapping[str, Any]) -> str | None:
    """Names the nearest model that can be had without a download: `embedded`, or one downloaded before."""
    return nearest_hint(name, [EMBEDDED, *(n for n in downloaded_names(hub.get("cache_dir")) if n != name)])


def downloaded_names(cache_dir: Any = None) -> list[str]:
    """The names of all models in the hub client's cache."""
    from huggingface_hub import constants

    root = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    found = sorted(path.name.split("--", 1)[1] for path in root.glob("models--*") if path.is_dir())
    return [name.replace("--", "/", 1) for name in found]


def unreachable(
    what: str, name: str, error: BaseException, hint: str, *, token: Any = None, local_only: bool | None = None
) -> ModelError:
    """What is to be said of something on the hub that could not be had."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    if any(isinstance(one, GatedRepoError) for one in chain):
        return ModelError(
            f"the {what} {name!r} is behind a licence", hint="accept it on its page and log in to the hub"
        )
    if any(isinstance(one, RepositoryNotFoundError) for one in chain):
        return ModelError(f"there is no {what} {name!r} on the hub, nor a folder of that name", hint=hint)
    if hub_arguments().get("local_files_only"):
        why = "HF_HUB_OFFLINE forbids to download it"
    elif local_only:
        why = "`local_files_only` forbids to download it"
    else:
        why = f"could not be downloaded: {reason_of(error, token)}"
    return ModelError(
        f"the {what} {name!r} is not on this machine and {why}",
        hint=f"{hint}; without a network give a folder downloaded elsewhere",
    )


def reason_of(error: BaseException, token: Any = None) -> str:
    """The first line of an error, without secrets."""
    return without_secrets((str(error).strip() or type(error).__name__).splitlines()[0], token)[:200]


def _without_token(error: Exception, token: Any) -> Exception | None:
    """The error as a cause, unless it says a secret: a traceback would print it."""
    return error if without_secrets(str(error), token) == str(error) else None
