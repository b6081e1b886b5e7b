"""Volumes to 8-bit axial slices: scaling, padding, and which slices are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthrelease.scans.blocks import foreground
from synthrelease.settings import ScalingName

BRIGHT = 50  # of 255: the reference study's limit between anatomy and background
SIDE_STEP = 32  # sides become multiples of this, as networks that halve five times need; 240 becomes 256


@dataclass(frozen=True)
class Slices:
    """The kept slices of one volume: ``pixels`` (k, c, h, w) uint8 and their numbers in the volume."""

    pixels: NDArray[np.uint8]
    numbers: tuple[int, ...]
    left_out: int
    rescued: bool  # no slice passed; the one with the largest foreground was kept


def padded_side(height: int, width: int) -> int:
    """Return the side of the square that slices are zero-padded to: the next multiple of 32 (240 gives 256)."""
    return -(-max(height, width) // SIDE_STEP) * SIDE_STEP


def cut(
    volume: NDArray[np.generic],
    mask: NDArray[np.uint8] | None,
    *,
    numbers: tuple[int, ...],
    scaling: ScalingName,
    least: float,
    keep_scale: bool = False,
) -> Slices:
    """Return the slices of one volume that show enough anatomy, scaled to 0..255 and padded to a square.

    Args:
        volume: (k, c, h, w) intensities, scaled per contrast over all k slices.
        mask: (k, h, w) label levels, appended as the last channel; never scaled.
        numbers: place of each slice in its volume.
        scaling: ``akbar2024`` divides by the maximum and keeps a slice when more than ``least`` of its padded
            pixels exceed 50 in the first contrast; ``robust`` clips to the 0.5 and 99.5 percentiles within the
            brain and keeps a slice when the brain covers more than ``least``.
        least: share of the padded slice, 0 to 1.
        keep_scale: leave intensities as they are (8-bit pictures that have no volume), with ``akbar2024``.
    """
    if scaling == "akbar2024":
        scaled = volume.astype(np.uint8) if keep_scale else by_maximum(volume)
        shown = scaled[:, 0] > BRIGHT
    else:
        brain = brain_of(volume)
        scaled, shown = within_percentiles(volume, brain), brain
    side = padded_side(*volume.shape[2:])
    share = shown.sum(axis=(1, 2)) / side**2
    kept = np.flatnonzero(share > least)
    rescued = len(kept) == 0
    if rescued:
        kept = np.array([int(share.argmax())])
    if mask is not None:
        scaled = np.concatenate([scaled, mask[:, None]], axis=1)
    return Slices(pad(scaled[kept], side), tuple(numbers[i] for i in kept), len(share) - len(kept), rescued)


def by_maximum(volume: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return ``volume`` (k, c, h, w) with each contrast divided by its maximum, as 0..255.

    Rounded to nearest, as the reference study's MATLAB `uint8` does; negative values become 0.
    """
    top = volume.max(axis=(0, 2, 3), keepdims=True).astype(np.float32)
    scaled = volume.astype(np.float32) * (np.float32(255) / np.where(top > 0, top, np.float32(1)))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def within_percentiles(volume: NDArray[np.generic], brain: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return ``volume`` (k, c, h, w) with each contrast's 0.5 to 99.5 percentile within the brain as 0..255."""
    scaled = np.zeros(volume.shape, dtype=np.uint8)
    for channel in range(volume.shape[1]):
        values = volume[:, channel].astype(np.float32)
        low, high = map(float, np.percentile(values[brain] if brain.any() else values, [0.5, 99.5]))
        factor = 255 / (high - low) if high > low else 0.0
        scaled[:, channel] = np.rint(np.clip((values - np.float32(low)) * np.float32(factor), 0, 255))
    return scaled


def brain_of(volume: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return where (k, h, w) any contrast of ``volume`` (k, c, h, w) is brighter than its background."""
    brain = np.zeros((volume.shape[0], *volume.shape[2:]), dtype=np.bool_)
    for channel in range(volume.shape[1]):
        contrast = volume[:, channel]
        if contrast.min() < contrast.max():
            brain |= foreground(contrast)
    return brain


def pad(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return (k, c, h, w) zero-padded to (k, c, side, side), the image in the centre."""
    height, width = pixels.shape[2:]
    top, left = (side - height) // 2, (side - width) // 2
    margins = ((0, 0), (0, 0), (top, side - height - top), (left, side - width - left))
    return np.pad(pixels, margins)
