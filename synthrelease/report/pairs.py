"""Suspects side by side: synthetic image, nearest train image, nearest holdout image, difference."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from synthrelease.records import AuditRecord, PartSuspect, Suspect
from synthrelease.report import formats
from synthrelease.report.figures import Picture

Pixels = NDArray[np.float32]
Indices = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

COLUMNS = ("synthetic", "nearest train", "nearest holdout", "difference")
BUDGET = 3_300_000  # bytes of PNG on one page: base64 adds a third, and the page stays under 5 MB
LARGEST, SMALLEST = 256, 48  # side of a tile, pixels
READABLE = 112  # smaller images are enlarged to at least this side
CONTRAST_OF_DIFFERENCE = 0.5  # of the intensity range, the same for every pair so that pairs compare
GREYS, COLOURS = 64, 63  # levels in the strip's palette: fewer bytes, no visible step at this size
MARGIN, HEAD, GAP, SCALE = 64, 24, 4, 36  # pixels: contrast names, column names, between tiles, colour scale


@dataclass(frozen=True)
class Pair:
    """A synthetic image beside what it resembles; each image is (c, h, w) in [0, 1]."""

    suspect: Suspect
    synthetic: Pixels
    train: Pixels  # aligned onto the synthetic image where possible
    holdout: Pixels | None
    channels: tuple[str, ...]
    kind: Literal["suspect", "closest", "part"]


@dataclass(frozen=True)
class ShownPair:
    """A pair as the page prints it."""

    pair: Pair
    picture: Picture
    part: PartSuspect | None


def shown_pairs(pairs: Sequence[Pair], record: AuditRecord) -> tuple[ShownPair, ...]:
    """Return each pair with its strip, drawn as large as the page's size budget allows."""
    strips = _strips_within(pairs, BUDGET)
    return tuple(
        ShownPair(pair, _picture(png, _finding(pair.suspect, record)), _part_of(pair, record.part_suspects))
        for pair, png in zip(pairs, strips, strict=True)
    )


def strip(pair: Pair, side: int) -> Image.Image:
    """Return one image: a column per role and one for the difference, a row per contrast.

    Args:
        pair: What to show.
        side: Longer side of a tile, pixels.

    Returns:
        A palette image: grey levels, then purple-white-orange for synthetic minus train, cut at half the range.
    """
    height, width = _tile_size(pair.synthetic.shape[1:], side)
    rows = len(pair.channels)
    canvas = np.full((HEAD + rows * (height + GAP) + SCALE, MARGIN + 4 * (width + GAP)), GREYS - 1, np.uint8)
    for row in range(rows):
        for column, tile in enumerate(_tiles(pair, row, (height, width))):
            top, left = HEAD + row * (height + GAP), MARGIN + column * (width + GAP)
            canvas[top : top + height, left : left + width] = tile
    last = MARGIN + 3 * (width + GAP)
    bar = GREYS + np.arange(width) * COLOURS // width
    canvas[-SCALE + 2 : -SCALE + 12, last : last + width] = bar.astype(np.uint8)
    image = Image.fromarray(canvas)
    _label(image, pair, (height, width))
    image.putpalette(_palette())
    return image


def _strips_within(pairs: Sequence[Pair], budget: int) -> list[bytes]:
    side = LARGEST
    while True:
        files = [_png(strip(pair, _side_of(pair, side))) for pair in pairs]
        total = sum(map(len, files))
        if total <= budget or side <= SMALLEST:
            return files
        # Bytes grow with the square of the side; a little less, so that the second drawing fits.
        side = max(SMALLEST, min(side - 8, int(side * math.sqrt(budget / total) * 0.97)))


def _side_of(pair: Pair, side: int) -> int:
    native = int(max(pair.synthetic.shape[1:]))
    return min(side, native if native >= READABLE else native * math.ceil(READABLE / native))


def _tile_size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    height, width = shape
    longer = max(height, width)
    return max(1, round(height * side / longer)), max(1, round(width * side / longer))


def _tiles(pair: Pair, row: int, size: tuple[int, int]) -> list[Indices]:
    holdout = None if pair.holdout is None else pair.holdout[row]
    nothing = np.full(size, GREYS - 1, np.uint8)
    return [
        _grey(pair.synthetic[row], size),
        _grey(pair.train[row], size),
        nothing if holdout is None else _grey(holdout, size),
        _coloured(pair.synthetic[row] - pair.train[row], size),
    ]


def _grey(part: Pixels, size: tuple[int, int]) -> Indices:
    return np.clip(np.rint(_resized(part, size) * (GREYS - 1)), 0, GREYS - 1).astype(np.uint8)


def _coloured(difference: Pixels, size: tuple[int, int]) -> Indices:
    place = (_resized(difference, size) / CONTRAST_OF_DIFFERENCE + 1) / 2
    return (GREYS + np.clip(np.rint(place * (COLOURS - 1)), 0, COLOURS - 1)).astype(np.uint8)


def _resized(part: Pixels, size: tuple[int, int]) -> NDArray[np.float32]:
    # Shrinking averages; enlarging repeats pixels, so that nothing is drawn that is not in the image.
    method = Image.Resampling.BOX if size[0] < part.shape[0] else Image.Resampling.NEAREST
    image = Image.fromarray(np.nan_to_num(np.ascontiguousarray(part, np.float32)))
    return np.asarray(image.resize((size[1], size[0]), method), np.float32)


def _label(image: Image.Image, pair: Pair, tile: tuple[int, int]) -> None:
    draw, (height, width) = ImageDraw.Draw(image), tile
    font = ImageFont.load_default(13 if width >= 88 else 10)
    for column, name in enumerate(COLUMNS):
        _write(draw, name, (MARGIN + column * (width + GAP), 4), width, font)
    for row, name in enumerate(pair.channels):
        _write(draw, formats.shown(name), (2, HEAD + row * (height + GAP) + height // 2 - 8), MARGIN - 6, font)
    if pair.holdout is None:
        _write(draw, "none shown", (MARGIN + 2 * (width + GAP), HEAD + height // 2 - 8), width, font)
    left, foot = MARGIN + 3 * (width + GAP), image.height - SCALE + 15
    small = ImageFont.load_default(11)
    for share, text in ((0.0, f"-{CONTRAST_OF_DIFFERENCE}"), (0.5, "0"), (1.0, f"+{CONTRAST_OF_DIFFERENCE}")):
        draw.text((left + share * (width - draw.textlength(text, small)), foot), text, fill=0, font=small)


def _write(draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int], room: int, font: Font) -> None:
    """Write as much of ``text`` as fits; the page repeats every name in full."""
    while text and draw.textlength(text, font) > room:
        text = text[:-2] + "…" if len(text) > 2 else ""
    draw.text(at, text, fill=0, font=font)


def _palette() -> list[int]:
    greys = [[round(255 * level / (GREYS - 1))] * 3 for level in range(GREYS)]
    # Orange against purple stay apart for readers who confuse red and green.
    colours = mpl.colormaps["PuOr_r"](np.linspace(0, 1, COLOURS))[:, :3]
    table = np.concatenate([np.array(greys), np.rint(255 * colours)]).astype(int)
    return [int(value) for value in table.ravel()]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=7)
    return file.getvalue()


def _picture(png: bytes, finding: str) -> Picture:
    with Image.open(io.BytesIO(png)) as image:
        width, height = image.size
    return Picture("data:image/png;base64," + base64.b64encode(png).decode(), width, height, finding)


def _finding(suspect: Suspect, record: AuditRecord) -> str:
    likeness = "is pixel for pixel" if suspect.exact else f"scores {formats.score(suspect.score)} against"
    turned = " after mirroring" if suspect.mirrored else ""
    line = "no holdout, so no line to hold it against"
    if record.calibrated:
        line = "above the alarm line" if suspect.above_alarm else "not above the alarm line"
    holdout = ""
    if suspect.holdout_score is not None:
        holdout = f" Its nearest holdout image scores {formats.score(suspect.holdout_score)}."
    return formats.shown(
        f"Synthetic image {suspect.image_id} {likeness} train image {suspect.train_image_id} of subject "
        f"{suspect.train_subject}{turned}: {line}.{holdout}"
    )


def _part_of(pair: Pair, parts: Sequence[PartSuspect]) -> PartSuspect | None:
    if pair.kind != "part":
        return None
    wanted = (pair.suspect.image_id, pair.suspect.train_image_id, pair.suspect.score)  # patch and tumour share ids
    return next((part for part in parts if (part.image_id, part.train_image_id, part.score) == wanted), None)
