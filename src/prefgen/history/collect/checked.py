"""A picture file's bytes, judged before they are kept: can it be read, is it large enough, does it show anything."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image

from prefgen.core import InputError, content_hash
from prefgen.history.pictures import FORMATS, load_picture

MAX_FILE_BYTES = 64 * 2**20
"""Largest picture file read: no dataset's picture comes near, a hostile cell may."""

MAX_PIXELS_COLLECTED = 50_000_000
"""Largest picture decoded from a dataset: below what a person's own photograph may have, since nobody looks at each."""

_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A sound picture: sha256 (hex) of its RGB pixels and of its file, and the file's usual suffix."""

    pixels: str
    file: str
    suffix: str


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What a picture must have to be kept: its shorter side in pixels, and more than one colour."""

    min_side_px: int = 64
    drop_one_colour: bool = True


def file_hash(data: bytes) -> str:
    """Sha256 (hex) of a file's bytes, by which collected pictures are named."""
    return hashlib.sha256(data).hexdigest()


def checked_picture(data: bytes, quality: Quality) -> Checked | str:
    """The checked picture, or the reason to drop it: `unreadable`, `too_small` or `one_colour`."""
    if not data or len(data) > MAX_FILE_BYTES:
        return "unreadable"
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in FORMATS if _is_known(name)]) as image:
            kind = image.format or ""
            rgb = load_picture(image, max_pixels=MAX_PIXELS_COLLECTED)
    except InputError:
        return "unreadable"
    except Exception:  # hostile headers make decoders raise nearly anything
        return "unreadable"
    if min(rgb.size) < quality.min_side_px:
        return "too_small"
    if quality.drop_one_colour and all(low == high for low, high in rgb.getextrema()):  # pyright: ignore
        return "one_colour"
    return Checked(pixels=content_hash(rgb), file=file_hash(data), suffix=_SUFFIXES.get(kind, "img"))


def _is_known(name: str) -> bool:
    Image.init()
    return name in Image.OPEN
