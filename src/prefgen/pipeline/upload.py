"""What goes onto the hub under a name: known file by file before anything is written or sent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefgen.core import InputError, ModelError
from prefgen.pipeline.hub import is_hub_name, reason_of

CARD_PAGE = "README.md"
Contents = Mapping[str, Path | bytes]
"""Files by their name in the repository: one of this machine that is copied, or the bytes that are written."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """The files of one repository, its card among them. Nothing is written or sent before `push`.

    Raises:
        InputError: no name of the form `someone/their-model`.
    """

    repo_id: str
    files: Contents

    def __post_init__(self) -> None:
        """Checks the name."""
        title_of(self.repo_id)

    @property
    def card(self) -> str:
        """The page that the hub shows."""
        page = self.files[CARD_PAGE]
        return page.decode() if isinstance(page, bytes) else page.read_text()

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by name."""
        return {
            name: len(data) if isinstance(data, bytes) else data.stat().st_size for name, data in self.files.items()
        }

    def push(
        self,
        *,
        private: bool = True,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str,
    ) -> str:
        """Uploads them. Returns the commit's address. A new repository is `private` unless told otherwise; one that is
        there already stays as visible as it is.

        Raises:
            ModelError: the hub cannot be reached or refuses; the token is never in the message.
        """
        from huggingface_hub import HfApi, get_token

        with tempfile.TemporaryDirectory() as made:
            write_files(self.files, Path(made))
            try:
                api: Any = HfApi(token=token)
                api.create_repo(self.repo_id, private=private, exist_ok=True)
                done = api.upload_folder(
                    repo_id=self.repo_id, folder_path=made, revision=revision, commit_message=commit_message
                )
            except Exception as error:  # the hub client has an error for each thing that can be amiss
                told = reason_of(error, token if isinstance(token, str) else get_token())
                raise ModelError(
                    f"{self.repo_id} could not be pushed: {told}",
                    hint="check the network, the name and that the token may write there (hf auth login); "
                    "nothing was lost",
                ) from None  # the cause may say the token
        return str(getattr(done, "commit_url", done))


def write_files(files: Contents, folder: Path) -> None:
    """Writes files into a folder, by name."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, bytes):
            (folder / name).write_bytes(data)
        else:
            shutil.copyfile(data, folder / name)


def title_of(repo_id: str) -> str:
    """The name's second half. Raises `InputError` for what is no name of the form `someone/their-model`."""
    if not is_hub_name(repo_id):
        raise InputError(f"expected a hub name such as someone/their-model, got {repo_id!r}")
    return repo_id.split("/")[1]
