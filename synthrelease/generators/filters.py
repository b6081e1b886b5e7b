"""Low-pass filters and the resampling they belong to, as dense matrices (StyleGAN 3, arXiv 2106.12423, section 3).

A separable filter that changes the rate is a product with one matrix per axis, ``rows @ images @ columns.T``. On CPU
that took 1.2 to 1.5 times less time in whole networks than stuffing zeros and convolving, and its gradients of any
order are exact. Filters are symmetric, so correlation and convolution are the same.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import signal, special
from torch import Tensor, nn
from torch.nn import functional

Kernel = NDArray[np.float64]

TAPS = 6  # filter length at the lower of its two rates
SLOPE = 0.2
CLAMP = 256.0


class Signal(NamedTuple):
    """What a layer puts out: pixels per side with margin, samples and cycles per image width."""

    size: int
    rate: int
    cutoff: float
    half_width: float
    channels: int


def low_pass(taps: int, *, cutoff: float, half_width: float, rate: float) -> Kernel:
    """Return a Kaiser-windowed low-pass filter (taps,) that keeps a constant: its sum is 1.

    Args:
        taps: Length at the rate at which it runs; 1 gives the filter that changes nothing.
        cutoff: Middle of the transition band, cycles per image width.
        half_width: Half the transition band, same unit.
        rate: Samples per image width; the Nyquist frequency is half of it, and ``cutoff`` is below that.

    Source: StyleGAN 3, section 3.1 and equation 6 for the window; Kaiser 1974 for the attenuation it reaches.
    """
    if taps == 1:
        return np.ones(1)
    return np.asarray(signal.firwin(taps, cutoff, width=2 * half_width, fs=rate), dtype=np.float64)


def radial_low_pass(taps: int, *, cutoff: float, half_width: float, rate: float) -> Kernel:
    """Return a low-pass filter (taps, taps) that treats all directions alike; its sum is 1.

    The ideal filter with a disc as pass band is a jinc, J1(2 pi fc r) fc / r; the window is the separable Kaiser
    window of `low_pass`. Arguments as there. Source: StyleGAN 3, section 3.2 and its appendix on filters.
    """
    if taps == 1:
        return np.ones((1, 1))
    place = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(place[:, None], place[None, :])
    at_zero = np.pi * cutoff**2  # the limit of J1(2 pi fc r) fc / r at r = 0
    safe = np.where(radius == 0, 1, radius)
    jinc = np.where(radius == 0, at_zero, special.j1(2 * np.pi * cutoff * safe) * cutoff / safe)
    window = np.kaiser(taps, kaiser_beta(taps, half_width=half_width, rate=rate))
    kernel = jinc * window[:, None] * window[None, :]
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


def kaiser_beta(taps: int, *, half_width: float, rate: float) -> float:
    """Return the Kaiser window's shape for a transition band of ``2 half_width`` at ``rate``."""
    return float(signal.kaiser_beta(signal.kaiser_atten(taps, 2 * half_width / (rate / 2))))


def upsampling(length: int, factor: int, kernel: Kernel, *, before: int, after: int) -> Kernel:
    """Return the matrix (length * factor + before + after - taps + 1, length) of interpolation along one axis.

    It stuffs ``factor - 1`` zeros after every sample, pads (a negative number crops), and filters with gain ``factor``,
    which makes up for the zeros.
    """
    out = length * factor + before + after - len(kernel) + 1
    tap = np.arange(length) * factor + before - np.arange(out)[:, None]
    return factor * _taps_at(kernel, tap)


def downsampling(length: int, factor: int, kernel: Kernel) -> Kernel:
    """Return the matrix ((length - taps) // factor + 1, length) that filters along one axis and keeps every
    factor-th sample."""
    starts = np.arange(0, length - len(kernel) + 1, factor)
    return _taps_at(kernel, np.arange(length) - starts[:, None])


def _taps_at(kernel: Kernel, tap: NDArray[np.int64]) -> Kernel:
    inside = (tap >= 0) & (tap < len(kernel))
    return np.where(inside, kernel[np.clip(tap, 0, len(kernel) - 1)], 0.0)


def reflecting(matrix: Kernel, *, before: int, length: int) -> Kernel:
    """Return a matrix (out, length) that sees the signal mirrored at its edges, from one that sees it padded.

    Args:
        matrix: (out, before + length + after), applied to the padded signal.
        before: Padding in front.
        length: Samples of the signal; its edge samples are repeated in the mirror image.
    """
    folded = np.zeros((matrix.shape[0], length))
    period = (np.arange(matrix.shape[1]) - before) % (2 * length)
    np.add.at(folded.T, np.minimum(period, 2 * length - 1 - period), matrix.T)
    return folded


def along_both_axes(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``rows @ images @ columns.T`` for images (..., h, w), shape (..., rows' height, columns' height).

    The columns go first: with the images' rows stacked they are one large product rather than many small ones.
    """
    return torch.matmul(rows, torch.matmul(images, columns.T))


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Return images (n, c, h, w) blurred by a Gaussian of ``sigma`` pixels; mirrored at the edges; unchanged at 0.

    StyleGAN 3-R shows its discriminator only blurred images at first (appendix on configuration R: 10 pixels,
    fading out over the first 200,000 images), so that it cannot judge by high frequencies alone.
    """
    reach = int(np.floor(3 * sigma))
    if reach == 0:
        return images
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    matrices = []
    for length in images.shape[-2:]:
        padded = downsampling(length + 2 * reach, 1, kernel / kernel.sum())
        folded = reflecting(padded, before=reach, length=length)
        matrices.append(torch.as_tensor(folded, dtype=images.dtype, device=images.device))
    return along_both_axes(images, *matrices)


def decimate_by_tiles(images: Tensor, tiles: Tensor, *, factor: int, out: int) -> Tensor:
    """Return images (n, c, h, h) filtered by a kernel that is not separable, every factor-th pixel: (n, c, out, out).

    Args:
        images: With h = (out - 1) * factor + taps.
        tiles: `tile_kernels` of the kernel.
        factor: Of decimation.
        out: Pixels per side.

    A convolution from one channel to one channel keeps no processor busy. Here one step of it makes a whole tile of
    outputs: several times the multiplications, yet 2 to 14 times faster forward and backward on CPU.
    """
    side = math.isqrt(tiles.shape[0])
    step = side * factor
    short = (math.ceil(out / side) - 1) * step + tiles.shape[-1] - images.shape[-1]
    padded = functional.pad(images.flatten(0, 1)[:, None], (0, short, 0, short))
    made = functional.pixel_shuffle(functional.conv2d(padded, tiles, stride=step), side)
    return made[:, 0, :out, :out].reshape(*images.shape[:2], out, out)


def tile_kernels(kernel: Kernel, *, factor: int, side: int = 8) -> Kernel:
    """Return the kernels (side * side, 1, t, t) that make one tile of side x side decimated pixels at once.

    t = (side - 1) * factor + taps; the pixels of the tile are in reading order.
    """
    taps = len(kernel)
    reach = (side - 1) * factor + taps
    tiles = np.zeros((side, side, reach, reach))
    for row in range(side):
        for column in range(side):
            top, left = row * factor, column * factor
            tiles[row, column, top : top + taps, left : left + taps] = kernel
    return tiles.reshape(side * side, 1, reach, reach)


class FilteredLeakyReLU(nn.Module):
    """Maps (n, c, before, before) to (n, c, after, after): up, leaky ReLU, clamp, down, without aliasing.

    Args:
        source: The signal that comes in, whose rate and band the upsampling filter serves.
        target: The signal that goes out.
        before: Pixels per side that come in, which a full convolution made larger than the source's.
        radial: Give the downsampling filter the same response in all directions.
    """

    rows_up: Tensor
    columns_up: Tensor
    down: Tensor

    def __init__(self, source: Signal, target: Signal, *, before: int, radial: bool) -> None:
        super().__init__()
        rate = 2 * max(source.rate, target.rate)
        factor_up, self.factor_down = rate // source.rate, rate // target.rate
        taps_up, taps_down = TAPS * factor_up, TAPS * self.factor_down
        self.out = target.size
        up = low_pass(taps_up, cutoff=source.cutoff, half_width=source.half_width, rate=rate)
        first, last = padding(source, target, before=before)
        matrix = upsampling(before, factor_up, up, before=first, after=last)
        # The activation's gain of sqrt 2 rides on one matrix: a leaky ReLU commutes with positive factors.
        self._keep("rows_up", matrix * math.sqrt(2))
        self._keep("columns_up", matrix)
        self.radial = radial
        band = {"cutoff": target.cutoff, "half_width": target.half_width, "rate": rate}
        if radial:
            self._keep("down", tile_kernels(radial_low_pass(taps_down, **band), factor=self.factor_down))
        else:
            kernel = low_pass(taps_down, **band)
            self._keep("down", downsampling(matrix.shape[0], self.factor_down, kernel))

    def _keep(self, name: str, values: Kernel) -> None:
        # Follows from the settings, so it is not part of the saved state.
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        fine = along_both_axes(maps, self.rows_up, self.columns_up)
        # Clamped before the slope is applied, which is the same. Hardtanh is a clamp with one pass backward, not four.
        fine = functional.leaky_relu(functional.hardtanh(fine, -CLAMP / SLOPE, CLAMP), SLOPE, inplace=True)
        if self.radial:
            return decimate_by_tiles(fine, self.down, factor=self.factor_down, out=self.out)
        return along_both_axes(fine, self.down, self.down)


def padding(source: Signal, target: Signal, *, before: int) -> tuple[int, int]:
    """Return how many samples to add (below zero: remove) in front and behind, at the high rate.

    Upsampling, both filters and decimation then turn ``before`` pixels into the target's size, and keep its middle
    where the source's was.
    """
    rate = 2 * max(source.rate, target.rate)
    up, down = rate // source.rate, rate // target.rate
    total = (target.size - 1) * down + 1 - before * up + TAPS * up + TAPS * down - 2
    first = (total + up) // 2
    return first, total - first
