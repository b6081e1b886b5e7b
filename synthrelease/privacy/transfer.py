"""Are strangers a fair yardstick for these synthetic images? Matches their sharpness and noise.

Smooth images score higher against everything, noisy ones lower. Where synthetic images differ from real ones, the
holdout and the planted copies are degraded to the synthetic quality, and the worse threshold counts.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from synthrelease.features.canonical import smoothed
from synthrelease.image_set import ImageSet
from synthrelease.privacy.confirmation import noise_of
from synthrelease.privacy.gallery import Frame
from synthrelease.privacy.queries import Degradation, Images, of_set

VERSION = "transfer-1"
MOST_IMAGES = 120  # spectra of this many images, evenly spread, are stable to a few percent
BLURS = tuple(sd / 128 for sd in (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0))  # shares of the side
LEAST_BLUR = 0.8 / 128  # smaller differences move no score
LEAST_NOISE = 0.015  # share of the range
BAND = (0.08, 0.35)  # cycles per pixel: above anatomy's outline, below the resampling's own cut


def match_quality(holdout: ImageSet, synthetic: ImageSet, frame: Frame) -> Degradation:
    """Return what brings holdout images to the synthetic images' sharpness and noise; nothing where they agree.

    The blur is the one whose effect on the holdout's power spectrum (log, radial mean over a middle band, relative
    to the low frequencies) comes nearest to the synthetic spectrum; noise is then added up to the synthetic level.
    """
    real, made = _sample(holdout, frame), _sample(synthetic, frame)
    real_noise, made_noise = _noise(real), _noise(made)
    target = _spectrum(made, made_noise)
    blurred = [_spectrum(smoothed(real, sd * frame.size), real_noise if sd == 0 else 0.0) for sd in BLURS]
    misfit = [float(np.abs(spectrum - target).mean()) for spectrum in blurred]
    blur = BLURS[int(np.argmin(misfit))]
    if blur < LEAST_BLUR:
        blur = 0.0
    left = real_noise if blur == 0 else _noise(smoothed(real, blur * frame.size))
    noise = float(np.sqrt(max(0.0, made_noise**2 - left**2)))
    return Degradation(blur, noise if noise >= LEAST_NOISE else 0.0)


def _sample(images: ImageSet, frame: Frame) -> Images:
    rows = np.unique(np.linspace(0, len(images) - 1, min(MOST_IMAGES, len(images))).astype(np.int64))
    queries = of_set("sample", images, frame.channels, frame.size)
    return np.concatenate([queries.load(int(row), int(row) + 1)[0] for row in rows])


def _noise(images: Images) -> float:
    """Return the median noise deviation over images and contrasts, as a share of the range."""
    return float(np.median(noise_of(images)))


def _spectrum(images: Images, noise_sd: float) -> NDArray[np.float64]:
    """Return the mean log power in radial bins of the band, relative to the bin below it, noise power taken out."""
    size = images.shape[-1]
    window = np.hanning(size)[:, None] * np.hanning(size)[None]
    power = np.abs(np.fft.fft2((images - images.mean((2, 3), keepdims=True)) * window)) ** 2
    power = power / (window**2).sum()
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    edges = np.concatenate([[BAND[0] / 4], np.linspace(*BAND, 9)])
    level = []
    for low, high in itertools.pairwise(edges):
        ring = (frequency >= low) & (frequency < high)
        mean = power[:, :, ring].mean()
        level.append(np.log(max(mean - noise_sd**2, 0.02 * mean)))
    relative: NDArray[np.float64] = np.array(level[1:]) - level[0]
    return relative
