"""Images as the audit compares them: square, one size, each contrast of each image scaled by its own range."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

VERSION = "analysis-2"
LOW, HIGH = 0.005, 0.998  # quantiles that become 0 and 1
SCALING = (
    "every contrast of every image, in all three roles: resampled, then its 0.5 % quantile becomes 0 and its 99.8 % "
    "quantile becomes 1; images that are not square are padded with 0"
)


def analysis_images(pixels: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Return images (n, c, size, size) in [0, 1] of stored pixels (n, c, h, w), any number type.

    A constant contrast becomes 0. Scaling by the image's own range makes 8-bit, 16-bit and float files of one scene
    equal, and costs nothing in copy search, which looks at local correlation.
    """
    block = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
    h, w = _fitted(block.shape[2], block.shape[3], size)
    if (h, w) != tuple(block.shape[2:]):
        block = nn.interpolate(block, (h, w), mode="bilinear", antialias=True, align_corners=False)
    low, high = _range(block)
    scaled = ((block - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    top, left = (size - h) // 2, (size - w) // 2
    # Padded after scaling, with each image's own darkest value: no image may depend on those beside it in a block.
    return nn.pad(scaled, (left, size - w - left, top, size - h - top)).numpy()


def _fitted(h: int, w: int, size: int) -> tuple[int, int]:
    """Return the height and width of an image whose longer side became ``size``."""
    longest = max(h, w)
    return max(1, round(h * size / longest)), max(1, round(w * size / longest))


def _range(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ordered = images.flatten(2).sort(dim=2).values
    last = ordered.shape[2] - 1
    low, high = ordered[:, :, round(LOW * last)], ordered[:, :, round(HIGH * last)]
    # Where the bright part is smaller than 0.2 % of the image, the maximum says more than the quantile.
    high = torch.where(high > low, high, ordered[:, :, -1])
    return low[:, :, None, None], high[:, :, None, None]


def analysis_masks(masks: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Return label masks (n, size, size) of stored masks (n, h, w): padded to a square, nearest neighbour."""
    h, w = _fitted(masks.shape[1], masks.shape[2], size)
    rows = ((np.arange(h) + 0.5) * masks.shape[1] / h).astype(np.int64)
    columns = ((np.arange(w) + 0.5) * masks.shape[2] / w).astype(np.int64)
    top, left = (size - h) // 2, (size - w) // 2
    small = masks[:, rows][:, :, columns]
    padded = np.pad(small, ((0, 0), (top, size - h - top), (left, size - w - left)))
    return np.ascontiguousarray(padded).astype(np.uint8)
