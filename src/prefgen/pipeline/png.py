"""PNG files that tell how they were made, in text chunks of their own."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from PIL import Image, PngImagePlugin

from prefgen import __version__
from prefgen.pipeline.atomic import write_new, write_whole


def save_png(image: Image.Image, path: Path | str, told: Mapping[str, object], *, replace: bool = False) -> Path:
    """Writes `image` with one text chunk for each entry of `told` (None is left out) and `software`.

    Another file is not replaced unless `replace`: `fox-7.png` becomes `fox-7-2.png` where a different picture has its
    name. Returns where the picture stands.
    """
    info = PngImagePlugin.PngInfo()
    for key, value in {**told, "software": f"prefgen {__version__}"}.items():
        if value is not None:
            info.add_itxt(key, str(value))
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", pnginfo=info)
    wanted = Path(path)
    for number in count(1):
        free = wanted if number == 1 else wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        if replace:
            write_whole(free, encoded.getvalue())
            return free
        if write_new(free, encoded.getvalue()) or free.read_bytes() == encoded.getvalue():
            return free
    raise AssertionError("numbers do not end")
