"""Images as the audit compares them: square, one size, each contrast of each image scaled by its own range."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

VERSION = "analysis-1"
LOW, HIGH = 0.005, 0.998  # quantiles that become 0 and 1
SCALING = (
    "every contrast of every image, in all three roles: padded to a square, resampled, then its 0.5 % quantile "
    "becomes 0 and its 99.8 % quantile becomes 1"
)


def analysis_images(pixels: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Return images (n, c, size, size) in [0, 1] of stored pixels (n, c, h, w), any number type.

    A constant contrast becomes 0. Scaling by the image's own range makes 8-bit, 16-bit and float files of one scene
    equal, and costs nothing in copy search, which looks at local correlation.
    """
    block = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
    h, w = block.shape[2:]
    if h != w:
        side = max(h, w)
        top, left = (side - h) // 2, (side - w) // 2
        fill = float(block.min())
        block = nn.pad(block, (left, side - w - left, top, side - h - top), value=fill)
    if block.shape[-1] != size:
        block = nn.interpolate(block, (size, size), mode="bilinear", antialias=True, align_corners=False)
    low, high = _range(block)
    return ((block - low) / (high - low).clamp_min(1e-6)).clamp(0, 1).numpy()


def _range(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ordered = images.flatten(2).sort(dim=2).values
    last = ordered.shape[2] - 1
    low, high = ordered[:, :, round(LOW * last)], ordered[:, :, round(HIGH * last)]
    # Where the bright part is smaller than 0.2 % of the image, the maximum says more than the quantile.
    high = torch.where(high > low, high, ordered[:, :, -1])
    return low[:, :, None, None], high[:, :, None, None]


def analysis_masks(masks: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Return label masks (n, size, size) of stored masks (n, h, w): padded to a square, nearest neighbour."""
    h, w = masks.shape[1:]
    side = max(h, w)
    top, left = (side - h) // 2, (side - w) // 2
    padded = np.pad(masks, ((0, 0), (top, side - h - top), (left, side - w - left)))
    steps = ((np.arange(size) + 0.5) * side / size).astype(np.int64)
    return np.ascontiguousarray(padded[:, steps][:, :, steps]).astype(np.uint8)
