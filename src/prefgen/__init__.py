"""PrefGen: pictures made for one particular person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefgen.core import PrefGenError
    from prefgen.pipeline import PrefGen, Profile

__version__ = "0.1.0"
__all__ = ["PrefGen", "PrefGenError", "Profile", "__version__"]


def __getattr__(name: str) -> object:
    """Loads the heavy parts on first use, so that `import prefgen` stays light."""
    if name in ("PrefGen", "Profile"):
        from prefgen import pipeline

        return getattr(pipeline, name)
    if name == "PrefGenError":
        from prefgen.core import PrefGenError

        return PrefGenError
    raise AttributeError(f"module 'prefgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
