"""Multi-scale structural similarity, and how alike images of one set are by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, IntArray

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first: Wang et al. 2003
TAPS, SD = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # for a value range of 1


def structural_similarity(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the multi-scale structural similarity (MS-SSIM) of two images.

    Args:
        first: (h, w) in [0, 1], both sides at least 11.
        second: likewise.

    Returns:
        1 for equal images, about 0 for unrelated ones; negative contrast terms count as 0. Images under 176 pixels
        have fewer scales, the remaining weights brought to a sum of 1.

    Raises:
        AuditError: images of different or too small shape.

    Source: Wang, Simoncelli and Bovik 2003; Gaussian window of 11 pixels, sd 1.5, inside the image only.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < TAPS:
        raise AuditError(f"Images of shape {a.shape} and {b.shape} cannot be compared.", "Both (h, w), 11 or more.")
    scales = 1
    while scales < len(WEIGHTS) and min(a.shape) >> scales >= TAPS:
        scales += 1
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    result = 1.0
    for scale, weight in enumerate(weights):
        luminance, contrast = _terms(a, b)
        term = luminance * contrast if scale == scales - 1 else contrast
        result *= max(float(term.mean()), 0.0) ** weight
        a, b = _halved(a), _halved(b)
    return float(result)


def _terms(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the luminance and the contrast-structure map of one scale."""
    mean_a, mean_b = _window(a), _window(b)
    variance_a, variance_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return luminance, (2 * covariance + C2) / (variance_a + variance_b + C2)


def _window(image: FloatArray) -> FloatArray:
    at = np.arange(TAPS) - TAPS // 2
    kernel = np.exp(-(at**2) / (2 * SD**2))
    kernel /= kernel.sum()
    inside = slice(TAPS // 2, -(TAPS // 2))
    blurred = ndimage.convolve1d(ndimage.convolve1d(image, kernel, axis=0), kernel, axis=1)
    return np.asarray(blurred[inside, inside])


def _halved(image: FloatArray) -> FloatArray:
    h, w = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    even = image[:h, :w]
    return np.asarray((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4)


@dataclass(frozen=True)
class Likeness:
    """Mean over pairs, with its 95 % interval."""

    value: float
    low: float
    high: float
    pairs: int


def disjoint_pairs(groups: npt.ArrayLike, most: int, random: np.random.Generator | None = None) -> IntArray:
    """Return (p, 2) image numbers in which no image appears twice and both belong to different groups (subjects).

    Args:
        groups: (n,) group of each image; all different where images have no subject.
        most: pairs at most.
        random: draws them; a fixed generator by default.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    random = seeds.named(0, "disjoint_pairs") if random is None else random
    order = random.permutation(len(codes))
    # Sorted by group and folded in the middle, partners differ unless one group holds more than half.
    order = order[np.argsort(codes[order], kind="stable")]
    half = len(order) // 2
    pairs = np.stack([order[:half], order[half : 2 * half]], axis=1)
    pairs = pairs[codes[pairs[:, 0]] != codes[pairs[:, 1]]]
    return np.asarray(random.permutation(pairs)[:most], dtype=np.int64)


def mean_similarity(first: npt.ArrayLike, second: npt.ArrayLike) -> Likeness:
    """Return the mean MS-SSIM of pairs of images: how alike the images of a set are, high where it lacks variety.

    Args:
        first: (p, h, w) in [0, 1], p >= 2.
        second: (p, h, w), the partners; pairs from `disjoint_pairs` are independent, which the interval rests on.

    Raises:
        AuditError: fewer than two pairs, or images that `structural_similarity` refuses.
    """
    a, b = np.asarray(first), np.asarray(second)
    if len(a) < 2 or len(a) != len(b):
        raise AuditError(f"{len(a)} and {len(b)} images make fewer than two pairs.", "Give at least four images.")
    values = np.array([structural_similarity(x, y) for x, y in zip(a, b, strict=True)])
    value, reach = float(values.mean()), 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values))
    return Likeness(value, value - reach, min(1.0, value + reach), len(values))
