"""PNG files that tell how they were made, in text chunks of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, PngImagePlugin

from prefgen import __version__


def save_png(image: Image.Image, path: Path | str, told: Mapping[str, object]) -> None:
    """Writes `image` with one text chunk for each entry of `told` (None is left out) and `software`."""
    info = PngImagePlugin.PngInfo()
    for key, value in {**told, "software": f"prefgen {__version__}"}.items():
        if value is not None:
            info.add_itxt(key, str(value))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG", pnginfo=info)
