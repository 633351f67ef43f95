"""Contact sheets: framed strips of pictures under captions, and sentences between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

INK, QUIET_INK, PAPER = (34, 34, 38), (104, 104, 112), (250, 249, 246)
GREEN, RED, NO_FRAME = (52, 142, 84), (196, 62, 58), None
_MARGIN, _GAP, _FRAME = 44, 12, 5
_Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Pictures in rows of `n_columns`, each fitted into a square that fills the sheet's width; a caption above."""

    caption: str
    pictures: Sequence[Image.Image]
    n_columns: int
    frame: _Colour | None = NO_FRAME


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A line or paragraph of text."""

    text: str
    size_px: int = 22
    ink: _Colour = INK
    space_above_px: int = 10


def contact_sheet(title: str, blocks: Sequence[Strip | Sentence], width_px: int = 1280) -> Image.Image:
    """Title and blocks from top to bottom, on paper of `width_px` and as much height as they need."""
    drawn = [_drawn(block, width_px - 2 * _MARGIN) for block in (Sentence(text=title, size_px=40), *blocks)]
    height = 2 * _MARGIN + sum(piece.height for piece in drawn)
    sheet = Image.new("RGB", (width_px, height), PAPER)
    top = _MARGIN
    for piece in drawn:
        sheet.paste(piece, (_MARGIN, top))
        top += piece.height
    return sheet


def fitted(picture: Image.Image, side_px: int) -> Image.Image:
    """The whole picture inside a square, enlarged smoothly; what is left over is paper."""
    scale = side_px / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    resized = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side_px, side_px), PAPER)
    square.paste(resized, ((side_px - width) // 2, (side_px - height) // 2))
    return square


def _drawn(block: Strip | Sentence, width_px: int) -> Image.Image:
    return _sentence(block, width_px) if isinstance(block, Sentence) else _strip(block, width_px)


def _sentence(block: Sentence, width_px: int) -> Image.Image:
    font = ImageFont.load_default(block.size_px)
    lines = _wrapped(block.text, font, width_px)
    line_px = round(block.size_px * 1.4)
    piece = Image.new("RGB", (width_px, block.space_above_px + line_px * len(lines) + 6), PAPER)
    draw = ImageDraw.Draw(piece)
    for place, line in enumerate(lines):
        draw.text((0, block.space_above_px + place * line_px), line, fill=block.ink, font=font)
    return piece


def _strip(block: Strip, width_px: int) -> Image.Image:
    caption = _sentence(Sentence(text=block.caption, ink=QUIET_INK, space_above_px=24), width_px)
    side = (width_px - (block.n_columns - 1) * _GAP) // block.n_columns
    n_rows = -(-len(block.pictures) // block.n_columns)
    piece = Image.new("RGB", (width_px, caption.height + n_rows * (side + _GAP)), PAPER)
    piece.paste(caption, (0, 0))
    draw = ImageDraw.Draw(piece)
    for place, picture in enumerate(block.pictures):
        row, column = divmod(place, block.n_columns)
        left, top = column * (side + _GAP), caption.height + row * (side + _GAP)
        border = _FRAME if block.frame else 0
        if block.frame:
            draw.rounded_rectangle((left, top, left + side - 1, top + side - 1), radius=6, fill=block.frame)
        piece.paste(fitted(picture, side - 2 * border), (left + border, top + border))
    return piece


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines or [""]
