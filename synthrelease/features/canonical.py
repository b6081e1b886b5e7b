"""The canonical frame: the foreground brought to one position, size and orientation, lightly blurred.

Generic descriptors lose copies that were shifted, scaled or turned; in the canonical frame the same descriptors keep
most of them (docs/experiments.md). The frame is a function of one image alone: nothing is fitted.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

from synthrelease.features.on_device import bring, without_tf32

CPU = torch.device("cpu")
VERSION = "canonical-1"
BLOCK = 256
_MOMENT_SIZE = 64  # pixels on which position, size and orientation are measured
_SPREADS = 2.15  # half the frame, in standard deviations of the foreground: an ellipse ends at 2
_LARGEST_TURN = math.radians(45)  # beyond it, up and down could be confused


def canonical_frame(
    images: NDArray[np.float32], size: int, blur: float = 0.6, device: torch.device = CPU
) -> NDArray[np.float32]:
    """Return images in the canonical frame.

    Args:
        images: (n, c, h, w), any scale.
        size: Side of the square result, pixels.
        blur: Standard deviation of the blur after resampling, pixels of the result.
        device: Where it is computed.

    Returns:
        (n, c, size, size): foreground centred, its second moments made alike, its long axis upright;
        each image and channel with mean 0 and standard deviation 1 over the frame (0 for a constant channel).
    """
    out = np.empty((len(images), images.shape[1], size, size), dtype=np.float32)
    for start in range(0, len(images), BLOCK):
        block = torch.from_numpy(np.ascontiguousarray(images[start : start + BLOCK], dtype=np.float32))
        with without_tf32():
            out[start : start + BLOCK] = _frame(bring(block, device), size, blur).cpu().numpy()
    return out


def foreground(images: torch.Tensor, sharpness: float = 20.0) -> torch.Tensor:
    """Return a soft foreground mask (n, 1, h, w) in 0..1 of images (n, c, h, w).

    The threshold lies a quarter of the way to the bright end after a blur that takes noise away.
    """
    mean = smooth(images.mean(1, keepdim=True), images.shape[-1] / 64)
    flat = mean.flatten(1)
    dark = flat.quantile(0.02, dim=1)[:, None, None, None]
    bright = flat.quantile(0.95, dim=1)[:, None, None, None]
    relative = (mean - dark) / (bright - dark).clamp_min(1e-6)
    return torch.sigmoid(sharpness * (relative - 0.25))


def smooth(images: torch.Tensor, sd: float) -> torch.Tensor:
    """Return images (n, c, h, w) blurred by a Gaussian of ``sd`` pixels, edges replicated."""
    if sd <= 0:
        return images
    radius = max(1, min(math.ceil(3 * sd), images.shape[-1] - 1, images.shape[-2] - 1))
    steps = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (steps / sd) ** 2)
    kernel = (kernel / kernel.sum()).repeat(images.shape[1], 1)
    c = images.shape[1]
    padded = nn.pad(images, (radius, radius, radius, radius), mode="replicate")
    rows = nn.conv2d(padded, kernel[:, None, :, None], groups=c)
    return nn.conv2d(rows, kernel[:, None, None, :], groups=c)


def smoothed(images: NDArray[np.float32], sd: float) -> NDArray[np.float32]:
    """Return `smooth` of NumPy images (n, c, h, w)."""
    return smooth(torch.from_numpy(np.ascontiguousarray(images)), sd).numpy()


def _frame(images: torch.Tensor, size: int, blur: float) -> torch.Tensor:
    small = nn.interpolate(images, (_MOMENT_SIZE, _MOMENT_SIZE), mode="bilinear", antialias=True)
    theta = frame_transform(foreground(small))
    # Resampling to a much smaller grid would alias: average down to twice the frame first.
    if images.shape[-1] > 2 * size:
        images = nn.interpolate(images, (2 * size, 2 * size), mode="bilinear", antialias=True)
    grid = nn.affine_grid(theta, [len(images), images.shape[1], size, size], align_corners=False)
    framed = nn.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    framed = smooth(framed, blur)
    centred = framed - framed.mean((2, 3), keepdim=True)
    return centred / centred.square().mean((2, 3), keepdim=True).sqrt().clamp_min(1e-6)


def frame_transform(mask: torch.Tensor) -> torch.Tensor:
    """Return the affine maps (n, 2, 3) from the frame to each image, in [-1, 1] coordinates."""
    n, side = len(mask), mask.shape[-1]
    axis = (torch.arange(side, dtype=mask.dtype, device=mask.device) + 0.5) * 2 / side - 1
    weight = mask[:, 0] / mask[:, 0].sum((1, 2), keepdim=True).clamp_min(1e-6)
    x, y = axis[None, None, :], axis[None, :, None]
    mx, my = (weight * x).sum((1, 2)), (weight * y).sum((1, 2))
    dx, dy = x - mx[:, None, None], y - my[:, None, None]
    xx, yy, xy = (weight * dx * dx).sum((1, 2)), (weight * dy * dy).sum((1, 2)), (weight * dx * dy).sum((1, 2))
    turn = 0.5 * torch.atan2(2 * xy, yy - xx)  # of the long axis from the vertical
    # A round foreground has no long axis: trust the turn only as far as the axes differ.
    spread = torch.hypot(yy - xx, 2 * xy) / (xx + yy).clamp_min(1e-6)
    turn = turn * (turn.abs() <= _LARGEST_TURN) * (spread / 0.06).clamp(max=1)
    half = 0.5 * (xx + yy)
    gap = 0.5 * torch.hypot(yy - xx, 2 * xy)
    long, short = (half + gap).clamp_min(1e-4).sqrt(), (half - gap).clamp_min(1e-4).sqrt()
    upright = turn.abs() > 0
    sx = torch.where(upright | (yy >= xx), short, long) * _SPREADS
    sy = torch.where(upright | (yy >= xx), long, short) * _SPREADS
    cos, sin = turn.cos(), turn.sin()
    theta = torch.zeros(n, 2, 3, dtype=mask.dtype, device=mask.device)
    # The frame's x axis goes to (cos, -sin) and its y axis to (sin, cos), the long axis of the foreground.
    theta[:, 0, 0], theta[:, 0, 1], theta[:, 0, 2] = cos * sx, sin * sy, mx
    theta[:, 1, 0], theta[:, 1, 1], theta[:, 1, 2] = -sin * sx, cos * sy, my
    return theta
