"""Every file a person may throw at `load_picture`: read as they would expect, or refused in one line that names it."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from prefgen.core import InputError
from prefgen.history import load_picture

RAMP = np.linspace(0, 65535, 64).round()


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def values(image: Image.Image) -> np.ndarray:
    assert type(image) is Image.Image
    assert image.mode == "RGB"
    assert image.info == {}
    return np.asarray(image).astype(int)


def refused(source, *parts: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_picture(source)
    assert "\n" not in caught.value.message
    for part in parts:
        assert part in caught.value.message
    return caught.value


def corners() -> Image.Image:
    """6 x 4 with a red upper left quarter, green upper right, blue lower left and white lower right."""
    array = np.full((4, 6, 3), 255, np.uint8)
    array[:2, :3], array[:2, 3:], array[2:, :3] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return Image.fromarray(array)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "jp2"])
def test_lossless_formats_arrive_unchanged(tmp_path: Path, suffix: str) -> None:
    options = {"irreversible": False} if suffix == "jp2" else {}
    path = saved(tmp_path / f"a.{suffix}", corners(), **options)
    assert (values(load_picture(path)) == np.asarray(corners())).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_exif_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that a camera so held would have stored
    big = corners().resize((96, 64), Image.Resampling.NEAREST)
    stored = big.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else big
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{suffix}", stored, exif=exif)
    upright = load_picture(path)
    assert upright.size == (96, 64)
    assert np.abs(values(upright)[8:-8:16, 8:-8:16] - np.asarray(big)[8:-8:16, 8:-8:16]).max() < 60
    assert len(upright.getexif()) == 0
    assert load_picture(upright).tobytes() == upright.tobytes()


def test_broken_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", corners(), exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert load_picture(path).size == (6, 4)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_alpha_is_laid_on_white(mode: str) -> None:
    rgba = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    rgba.putpixel((1, 0), (0, 0, 0, 255))
    routes = {"RGBa": ["RGBa"], "La": ["LA", "La"], "PA": ["PA"], "LA": ["LA"], "RGBA": []}
    image = rgba
    for step in routes[mode]:
        image = image.convert(step)
    assert image.mode == mode
    assert values(load_picture(image)).tolist() == [[[255] * 3, [0] * 3]]


def test_half_transparent_black_is_grey(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGBA", (1, 1), (0, 0, 0, 128)))
    assert values(load_picture(path)).ravel().tolist() == [127] * 3


@pytest.mark.parametrize(("mode", "key", "colour"), [("L", 7, 7), ("RGB", (1, 2, 3), (1, 2, 3)), ("P", 1, 1)])
def test_a_transparent_colour_key_is_white(tmp_path: Path, mode: str, key, colour) -> None:
    image = Image.new(mode, (2, 1), colour)
    if mode == "P":
        image.putpalette([9, 9, 9, 50, 60, 70])
    path = saved(tmp_path / "a.png", image, transparency=key)
    assert (values(load_picture(path)) == 255).all()


def test_palette_gif_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 10, 10, 10, 200, 10])
    image.putpixel((0, 0), 1)
    path = saved(tmp_path / "a.gif", image, transparency=1)
    assert values(load_picture(path))[0, 0].tolist() == [255] * 3
    assert values(load_picture(path))[1, 1].tolist() == [200, 10, 10]


@pytest.mark.parametrize("mode", ["1", "L"])
def test_greyscale_and_bitmaps(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (2, 2), 255).convert(mode))
    assert (values(load_picture(path)) == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk_is_converted(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", Image.new("CMYK", (16, 16), (255, 0, 0, 0)))
    red, green, blue = values(load_picture(path))[8, 8]
    assert red < 60
    assert green > 100
    assert blue > 180


def test_an_unusable_colour_profile_is_passed_over(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", corners(), icc_profile=b"no profile at all")
    assert (values(load_picture(path)) == np.asarray(corners())).all()


def test_an_embedded_colour_profile_is_followed(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    red_first, green_first = np.asarray(corners()).astype(int), np.asarray(corners())[..., [1, 0, 2]].astype(int)
    for options, expected in (({"icc_profile": profile}, red_first), ({"icc_profile": swapped}, green_first)):
        for mode in ("RGB", "RGBA"):
            path = saved(tmp_path / "a.png", corners().convert(mode), **options)
            assert np.abs(values(load_picture(path)) - expected).max() <= 3


def test_a_lab_picture_is_converted() -> None:
    lab = ImageCms.profileToProfile(
        corners(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    assert np.abs(values(load_picture(lab)) - np.asarray(corners())).max() <= 30  # 8-bit Lab is coarse


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_the_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    assert values(load_picture(path))[4, 4].tolist() == [255, 0, 0]


def test_a_phone_picture_that_holds_several(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "a.jpg", frames[0], format="MPO", save_all=True, append_images=frames[1:])
    assert values(load_picture(path))[8, 8, 0] > 200


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(np.tile(RAMP.astype(np.uint16), (2, 1))))
    assert values(load_picture(path))[0, :, 1].tolist() == np.rint(RAMP / 257).astype(int).tolist()


def test_a_dark_sixteen_bit_png_stays_dark(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.full((2, 2), 200, np.uint16)))
    assert values(load_picture(path)).max() == 1


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 65535]], np.int32), [0, 255]),
        (np.array([[0, 255]], np.int32), [0, 255]),
        (np.array([[0, 2**31 - 1]], np.int32), [0, 255]),
        (np.array([[-5, 5]], np.int32), [0, 255]),
        (np.array([[70000, 70000]], np.int32), [0, 0]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0]], np.float32), [0, 100]),
        (np.array([[0.0, 65535.0]], np.float32), [0, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, 1.0, np.inf, -np.inf]], np.float32), [0, 255, 255, 0]),
        (np.array([[np.nan]], np.float32), [0]),
    ],
)
def test_integer_and_float_greys_are_scaled(tmp_path: Path, array: np.ndarray, expected: list[int]) -> None:
    path = saved(tmp_path / "a.tiff", Image.fromarray(array))
    assert values(load_picture(path))[0, :, 0].tolist() == expected


def test_a_sixteen_bit_tiff_whose_zero_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 65535]], np.uint16))
    path = saved(tmp_path / "a.tiff", image, tiffinfo={262: 0})
    with Image.open(path) as written:
        if written.tag_v2[262] != 0:  # pragma: no cover - this Pillow writes its own tag
            data = path.read_bytes().replace(struct.pack("<HHII", 262, 3, 1, 1), struct.pack("<HHII", 262, 3, 1, 0))
            path.write_bytes(data)
    assert values(load_picture(path))[0, :, 0].tolist() == [255, 0]


def test_a_picture_given_is_left_as_it_was() -> None:
    image = corners()
    image.info["comment"] = "mine"
    loaded = load_picture(image)
    loaded.putpixel((0, 0), (1, 2, 3))
    assert image.info == {"comment": "mine"}
    assert image.getpixel((0, 0)) == (255, 0, 0)


def png_header_only(width_px: int, height_px: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side_px", [11_000, 13_000, 100_000])
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path: Path, side_px: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header_only(side_px, side_px))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(path, "bomb.png", "too large")


def test_the_pixel_limit_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="6 x 4 pixels, at most 23"):
        load_picture(saved(tmp_path / "a.png", corners()), max_pixels=23)
    assert load_picture(corners(), max_pixels=24).size == (6, 4)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tiff"])
@pytest.mark.parametrize("kept", [0.5, 0.02])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = saved(tmp_path / f"cut.{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: max(12, int(len(data) * kept))])
    assert refused(path, f"cut.{suffix}", "damaged").hint


def test_a_flipped_bit_in_a_png_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", corners())
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)
    refused(path, "a.png", "damaged")


def test_no_size_in_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header_only(0, 5))
    refused(path, "a.png")
    refused(Image.new("RGB", (0, 5)), "no pixels")


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"hello, I am text", "not a picture"),
        (b"%PDF-1.7 x", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"8BPS\0\1", "PSD"),
        (b"\0", "not a picture"),
    ],
)
def test_other_files_with_a_pictures_name(tmp_path: Path, start: bytes, told: str) -> None:
    path = tmp_path / "fake.png"
    path.write_bytes(start)
    assert "PNG or JPEG" in (refused(path, "fake.png", told).hint or "")


def test_formats_outside_the_list_are_refused(tmp_path: Path) -> None:
    refused(saved(tmp_path / "a.eps", corners()), "EPS")
    refused(saved(tmp_path / "a.ico", corners().resize((16, 16))), "ICO")
    refused(saved(tmp_path / "a.tga", corners()), "not a picture")


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    assert "check the path" in (refused(tmp_path / "gone.png", "gone.png does not exist").hint or "")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty.png", "0 bytes")
    refused("a\0b.png", "a\\x00b.png")
    refused(str(tmp_path / ("x" * 5000)), "xxx")
    refused(tmp_path / "two\nlines.png", "two\\nlines.png")
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not a regular file")


def test_a_closed_picture_is_refused(tmp_path: Path) -> None:
    image = Image.open(saved(tmp_path / "closed.png", corners()))
    image.close()
    refused(image, "closed.png")


def test_an_array_is_refused_with_a_way_out() -> None:
    with pytest.raises((InputError, TypeError), match="PIL"):
        load_picture(np.zeros((4, 4, 3), np.uint8))  # pyright: ignore[reportArgumentType]


def test_nothing_printed_and_files_closed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", corners())
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        load_picture(path)
        load_picture(str(path))
    buffer = io.BytesIO()
    load_picture(path).save(buffer, "PNG")
    assert b"eXIf" not in buffer.getvalue()
