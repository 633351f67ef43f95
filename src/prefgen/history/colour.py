"""Any Pillow mode to plain 8-bit sRGB: alpha on white, deep greys scaled, inks and colour profiles converted."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms, ImageOps

_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_SIXTEEN_BIT_FORMATS = frozenset({"PNG", "PPM"})  # their mode I always means 0..65535
_TIFF_BITS_PER_SAMPLE, _TIFF_PHOTOMETRIC = 258, 262


def to_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit sRGB copy of a decoded picture, as a person would see it on white paper.

    Deep greys (`I;16`, `I`, `F`) are scaled by their full scale, an embedded colour profile is followed, transparency
    is laid on white, a palette is looked up. Metadata do not come along.

    Raises:
        ValueError: Pillow knows no way from this mode to RGB.
    """
    if image.mode.startswith("I") or image.mode == "F":
        rgb = _deep_grey_to_8_bit(image).convert("RGB")
    elif image.mode in _ALPHA_MODES or "transparency" in image.info:
        rgb = _on_white(image)
    else:
        rgb = _to_srgb(image)
    plain = rgb.copy()
    plain.info = {}
    return plain


def _on_white(image: Image.Image) -> Image.Image:
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    rgba = (image.convert(straight) if straight else image).convert("RGBA")
    rgba.info.pop("transparency", None)
    colour = _to_srgb(rgba.convert("RGB"))
    white = Image.new("RGB", image.size, "white")
    white.paste(colour, mask=rgba.getchannel("A"))
    return white


def _to_srgb(image: Image.Image) -> Image.Image:
    """Follows an embedded profile that is usable and not sRGB already; else Pillow's own conversion."""
    source = ImageCms.createProfile("LAB") if image.mode == "LAB" else _embedded_profile(image)
    colour = image.convert("RGB") if image.mode == "P" else image
    if source is not None:
        try:
            converted = ImageCms.profileToProfile(colour, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # a broken or ill-fitting profile: the plain conversion is what viewers show too
        if converted is not None:
            return converted
    return colour.convert("RGB")


def _embedded_profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        is_srgb = "srgb" in ImageCms.getProfileDescription(profile).lower()
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None if is_srgb else profile


_ROWS_AT_ONCE = 64


def _deep_grey_to_8_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    finite = np.isfinite(values) if values.dtype.kind == "f" else None
    known = values if finite is None else values[finite]
    low, high = _full_scale(image, float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    scaled = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _ROWS_AT_ONCE):  # whole, the floats would take tens of bytes a pixel
        part = np.nan_to_num(values[row : row + _ROWS_AT_ONCE].astype(np.float64), nan=low, posinf=high, neginf=low)
        scaled[row : row + _ROWS_AT_ONCE] = np.rint(255 * np.clip((part - low) / (high - low), 0, 1))
    grey = Image.fromarray(scaled)
    if _tiff_tag(image, _TIFF_PHOTOMETRIC) == 0:  # "white is zero"; Pillow inverts it for 8 bits only
        grey = ImageOps.invert(grey)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.paste(255, mask=Image.fromarray(values == transparent))
    return grey


def _full_scale(image: Image.Image, low: float, high: float) -> tuple[float, float]:
    """The values that mean black and white: known from the file, else the first usual range that fits."""
    if image.mode.startswith("I;16"):
        bits = _tiff_tag(image, _TIFF_BITS_PER_SAMPLE)
        return 0.0, float(2 ** (bits if 8 < bits < 16 else 16) - 1)
    if image.mode == "I" and image.format in _SIXTEEN_BIT_FORMATS:
        return 0.0, 65535.0
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    fitting = [top for top in usual if low >= 0 and high <= top]
    if fitting:
        return 0.0, fitting[0]
    return low, high if high > low else low + 1.0


def _tiff_tag(image: Image.Image, tag: int) -> int:
    """A TIFF tag's first number, or -1."""
    value = getattr(image, "tag_v2", {}).get(tag, -1)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else -1
