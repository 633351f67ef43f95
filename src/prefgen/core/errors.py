"""One family of errors: every message says what was expected, what came, and (in `hint`) what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PrefGenError(Exception):
    """A mistake that a person can mend. The command line prints it as one line and a `hint:`."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class InputError(PrefGenError):
    """A picture, file, folder or value from a person that cannot be used."""


class ConflictError(InputError):
    """The same picture stands on both sides of a history."""


class ProfileError(PrefGenError):
    """A profile file that is damaged, of another version, or of another model."""


class ModelError(PrefGenError):
    """A model folder or name that cannot be loaded, or weights that do not fit it."""


class ConfigError(PrefGenError):
    """A setting that does not exist or lies outside its range."""


class DataError(PrefGenError):
    """A data file whose layout is not what its reader expects."""


def nearest_hint(word: str, known: Iterable[str]) -> str | None:
    """Names the nearest known word, for the `hint` of an error about an unknown one."""
    match = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {match[0]!r}?" if match else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device or the machine has no memory left; torch's says so in words."""
    told = str(error).lower()
    short = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(part in told for part in short))
