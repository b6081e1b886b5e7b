"""Intensities and sharpness of whole sets, summed over blocks: memory does not grow with the images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray

LEVELS = 256  # bins of intensity from 0 to 1
BACKGROUND = 1 / 510  # intensities below half a byte step are background


@dataclass(frozen=True)
class PixelSums:
    """Sums over images of one contrast; sets are put together by `+`."""

    images: int
    histogram: FloatArray
    """(256,) foreground pixels per intensity."""
    power: FloatArray
    """(f,) summed power per spatial frequency, 1 to h / 2 cycles a side."""

    def __add__(self, other: PixelSums) -> PixelSums:
        """Return the sums over both sets; their images must have one size."""
        if self.power.shape != other.power.shape:
            raise AuditError("Images of different sizes have spectra that cannot be added.", "Bring them to one size.")
        return PixelSums(self.images + other.images, self.histogram + other.histogram, self.power + other.power)

    @property
    def spectrum(self) -> FloatArray:
        """(f,) mean power per spatial frequency, log10."""
        return np.log10(np.maximum(self.power / self.images, 1e-30))


def pixel_sums(images: npt.ArrayLike) -> PixelSums:
    """Return the sums over a block of images (k, h, w) in [0, 1].

    Raises:
        AuditError: not a block of images, or not finite.
    """
    block = np.asarray(images, dtype=np.float64)
    if block.ndim != 3 or not len(block) or not np.isfinite(block).all():
        raise AuditError(f"A block of shape {block.shape} holds no finite images (k, h, w).", "Leave out bad images.")
    level = np.clip(block * LEVELS, 0, LEVELS - 1).astype(np.int64)[block > BACKGROUND]
    h, w = block.shape[1:]
    power = np.abs(np.fft.rfft2(block - block.mean(axis=(1, 2), keepdims=True))) ** 2 / (h * w)
    rows, columns = np.fft.fftfreq(h) * min(h, w), np.fft.rfftfreq(w) * min(h, w)
    ring = np.rint(np.hypot(rows[:, None], columns)).astype(np.int64).ravel()
    half = min(h, w) // 2
    members = np.bincount(ring, minlength=half + 1)[1 : half + 1]
    sums = np.bincount(ring, weights=power.sum(axis=0).ravel(), minlength=half + 1)[1 : half + 1]
    return PixelSums(len(block), np.bincount(level, minlength=LEVELS).astype(np.float64), sums / members)


def intensity_distance(*, real: PixelSums, synthetic: PixelSums) -> float:
    """Return the Wasserstein distance between foreground intensities: how far values must move, share of the range.

    Raises:
        AuditError: one of the sets has no foreground.
    """
    shares = [_shares(side.histogram) for side in (real, synthetic)]
    return float(np.abs(np.cumsum(shares[0]) - np.cumsum(shares[1])).sum() / LEVELS)


def spectrum_distance(*, real: PixelSums, synthetic: PixelSums) -> float:
    """Return the mean difference of log10 power over spatial frequencies: 0.3 is a factor of two.

    Blur takes power from high frequencies, noise adds it, checkerboards add peaks.
    """
    if real.power.shape != synthetic.power.shape:
        raise AuditError("Spectra of images of different sizes cannot be compared.", "Bring them to one size.")
    return float(np.abs(real.spectrum - synthetic.spectrum).mean())


def _shares(counts: FloatArray) -> FloatArray:
    total = float(counts.sum())
    if total <= 0:
        raise AuditError("One of the sets is empty where it is compared: black images.")
    return counts / total
