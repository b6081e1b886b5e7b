"""Released images on the public page: the first by number, whose order is a keyed shuffle, so nobody chose them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthrelease.report import formats
from synthrelease.report.figures import Picture

MOST = 12
LARGE, SMALL, MANY = 176, 112, 3  # side of a tile in pixels; the small one where there are many channels
READABLE = 96  # smaller images repeat their pixels up to this side
FEW_LEVELS = 32  # masks with small labels would be black: they are stretched
GAP = 4


def pictures(samples: Sequence[NDArray[Any]], channels: Sequence[str]) -> tuple[Picture, ...]:
    """Return one picture per sample (c, h, w), its channels side by side; at most `MOST`.

    8-bit pixels are shown as they are, others from their least to their largest value.
    """
    shown = samples[:MOST]
    named = formats.shown(", ".join(channels))
    return tuple(
        _picture(
            sample,
            f"Synthetic image {number} of {len(shown)} in the order of a keyed shuffle; from left to right: {named}.",
        )
        for number, sample in enumerate(shown, start=1)
    )


def _picture(sample: NDArray[Any], finding: str) -> Picture:
    side = SMALL if len(sample) >= MANY else LARGE
    tiles = [_tile(_levels(channel), side) for channel in sample]
    gap = np.zeros((tiles[0].shape[0], GAP), np.uint8)
    pieces = [piece for tile in tiles for piece in (tile, gap)][:-1]
    image = Image.fromarray(np.concatenate(pieces, axis=1))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=7)
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return Picture(address, image.width, image.height, finding)


def _levels(channel: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a channel (h, w) of any number type as 0..255."""
    if channel.dtype == np.uint8 and channel.max(initial=0) >= FEW_LEVELS:
        return np.asarray(channel, np.uint8)
    values = np.nan_to_num(channel.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low = values.min(initial=0) if channel.dtype == np.uint8 else values.min()
    reach = values.max() - low
    levels: NDArray[np.uint8] = np.rint((values - low) * (255 / reach if reach > 0 else 0)).astype(np.uint8)
    return levels


def _tile(channel: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    longer = max(channel.shape)
    scale = side / longer if longer > side else -(-READABLE // longer)
    height, width = (max(1, round(length * scale)) for length in channel.shape)
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(channel).resize((width, height), method))
