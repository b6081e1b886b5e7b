"""Fingerprints of single image planes: equal for one picture in any number type, intensity range or orientation."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

FEWEST_PIXELS = 16  # that differ from the commonest value: a blank or nearly blank mask is nobody's picture
LEVELS = 255


def of_plane(plane: NDArray[np.generic]) -> str | None:
    """Return a SHA-256 that rescaling, changing the number type, turning by 90 degrees and mirroring do not change.

    Args:
        plane: (h, w) numbers.

    Returns:
        64 hex characters; None for a constant, nearly constant (fewer than 16 other pixels) or non-finite plane.
    """
    values = np.asarray(plane, dtype=np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite(low) or not np.isfinite(high) or low == high:
        return None
    levels = np.rint((values - low) / (high - low) * LEVELS).astype(np.uint8)
    if levels.size - np.bincount(levels.ravel()).max() < FEWEST_PIXELS:
        return None
    return min(_sha256(turned) for turned in _orientations(levels))


def _orientations(levels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    turned = [np.rot90(levels, quarter) for quarter in range(4)]
    return turned + [one[:, ::-1] for one in turned]


def _sha256(levels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(f"{levels.shape}".encode() + np.ascontiguousarray(levels).tobytes()).hexdigest()
