"""A person's picture file, whatever it is, to one plain RGB picture or one clear error."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from PIL import Image, UnidentifiedImageError

from prefgen.core import InputError
from prefgen.history.colour import to_rgb

PictureSource: TypeAlias = str | os.PathLike[str] | Image.Image
"""A path, or a Pillow picture."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""Raster formats that are opened; nothing that runs code or another program (EPS, PDF, WMF) is."""

MAX_PIXELS = 120_000_000
"""Largest picture decoded: a 108-megapixel phone photograph passes, a decompression bomb does not."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RASTER_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_FOREIGN_STARTS = {b"%PDF": "PDF", b"%!PS": "EPS", b"8BPS": "PSD", b"\0\0\1\0": "ICO", b"<svg": "SVG", b"<?xm": "SVG"}
_HINT_FORMATS = "save it as PNG or JPEG (also read: WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, PPM)"
_HINT_DAMAGED = "open it in a viewer and save it again, or leave it out"


def load_picture(source: PictureSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """One upright 8-bit RGB picture without metadata, from a path or a Pillow picture (which is left as it was).

    EXIF orientation is applied, transparency is laid on white, CMYK and embedded colour profiles are converted, 16-bit
    and float greys are scaled, of an animation the first frame is taken (of a Pillow picture: the frame it stands on).
    The pixel count is checked before anything is decoded.

    Raises:
        InputError: in one line that names the file: missing, a folder, empty, not a picture, of a format that is not
            read, damaged or cut short, of no size, or of more than `max_pixels` pixels.
    """
    if isinstance(source, Image.Image):
        name = picture_name(source)
        with _silenced():
            return _decode(source, name, max_pixels)
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(
            f"expected a path or a PIL image, got {type(source).__name__}",
            hint="for an array: PIL.Image.fromarray(array)",
        )
    path = _checked_file(Path(source))
    name = picture_name(path)
    with _silenced(), _open(path, name) as image:
        return _decode(image, name, max_pixels)


def shrunk(image: Image.Image, longest_px: int) -> Image.Image:
    """An RGB copy of at most `longest_px` a side; a picture that is small enough keeps its pixels."""
    rgb = image.convert("RGB")
    longest = max(rgb.size)
    if longest <= longest_px:
        return rgb.copy()
    width, height = (max(1, round(side * longest_px / longest)) for side in rgb.size)
    return rgb.resize((width, height), Image.Resampling.LANCZOS)


def picture_name(source: object) -> str:
    """What messages call a picture: its path on one line, or `a PIL image`."""
    name = getattr(source, "filename", "") or "a PIL image" if isinstance(source, Image.Image) else str(source)
    name = str(name)
    return name if name.isprintable() else repr(name)


_SILENCE = threading.RLock()


@contextmanager
def _silenced() -> Iterator[None]:
    """Pillow warns of what is checked here anyway (bombs) or does not matter to the picture (odd metadata).

    Filters belong to the whole process, so threads take turns.
    """
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _checked_file(path: Path) -> Path:
    name = picture_name(path)
    try:
        if path.is_dir():
            raise InputError(f"{name} is a folder, expected a picture file")
        if not path.exists():
            raise InputError(f"{name} does not exist", hint="check the path; web addresses must be downloaded first")
        if not path.is_file():
            raise InputError(f"{name} is not a regular file")
        if path.stat().st_size == 0:
            raise InputError(f"{name} is empty (0 bytes)", hint="copy or download it again")
    except (OSError, ValueError) as error:  # no permission, a name too long, a NUL in the name
        raise InputError(f"{name} cannot be read: {_reason(error)}") from error
    return path


def _open(path: Path, name: str) -> Image.Image:
    """The picture's header, read; its pixels are not decoded yet."""
    Image.init()
    readable = [name for name in FORMATS if name in Image.OPEN]  # older Pillows lack AVIF
    try:
        return Image.open(path, formats=readable)
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large: {_reason(error)}", hint="scale it down first") from error
    except UnidentifiedImageError as error:
        raise _unidentified(path, name) from error
    except PermissionError as error:
        raise InputError(f"{name} cannot be read: {_reason(error)}") from error
    except Exception as error:  # hostile headers make decoders raise nearly anything
        raise InputError(f"{name} is damaged: {_reason(error)}", hint=_HINT_DAMAGED) from error


def _unidentified(path: Path, name: str) -> InputError:
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(_RASTER_STARTS) or start[8:12] == b"WEBP":
        return InputError(f"{name} is damaged: its header cannot be read", hint=_HINT_DAMAGED)
    foreign = "HEIC" if start[4:11] in (b"ftyphei", b"ftypmif") else _FOREIGN_STARTS.get(start[:4])
    if foreign:
        return InputError(f"{name} is {foreign}, a format that is not read", hint=_HINT_FORMATS)
    return InputError(f"{name} is not a picture", hint=_HINT_FORMATS)


def _decode(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    width_px, height_px = image.size
    if width_px < 1 or height_px < 1:
        raise InputError(f"{name} has no pixels: its size is {width_px} x {height_px}")
    if width_px * height_px > max_pixels:
        raise InputError(
            f"{name} is too large: {width_px} x {height_px} pixels, at most {max_pixels:,} are read",
            hint="scale it down first",
        )
    try:
        image.load()
        orientation = _orientation(image)
        rgb = to_rgb(image)
    except Exception as error:  # hostile pixels make decoders raise nearly anything
        raise InputError(f"{name} is damaged or cut short: {_reason(error)}", hint=_HINT_DAMAGED) from error
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8; broken EXIF is no reason to refuse a sound picture."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]
