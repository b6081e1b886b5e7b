"""Images on their way into the search: from a set, planted, or degraded to the synthetic images' quality."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthrelease import seeds
from synthrelease.features.analysis import VERSION, analysis_images, analysis_masks
from synthrelease.image_set import MASK, ImageSet

BLOCK = 128  # images searched at once, and lost at most when interrupted

Images = NDArray[np.float32]
Masks = NDArray[np.uint8]


@dataclass(frozen=True)
class Queries:
    """Images to be searched in the train set, made block by block."""

    name: str
    key: object  # JSON-able: everything that shaped these images
    count: int
    load: Callable[[int, int], tuple[Images, Masks | None]]  # (start, stop) -> (k, c, s, s) in [0, 1], (k, s, s)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of each block."""
        for start in range(0, self.count, BLOCK):
            yield start, min(start + BLOCK, self.count)


@dataclass(frozen=True)
class Degradation:
    """What brings real images to the synthetic ones' sharpness and noise."""

    blur_sd: float = 0.0  # share of the side
    noise_sd: float = 0.0  # share of the intensity range

    @property
    def any(self) -> bool:
        return self.blur_sd > 0 or self.noise_sd > 0

    def apply(self, images: Images, seed: int, first: int) -> Images:
        """Return images (n, c, s, s) blurred, then noisy; image i depends on (seed, first + i) alone."""
        if self.blur_sd > 0:
            sd = self.blur_sd * images.shape[-1]
            images = ndimage.gaussian_filter(images, (0, 0, sd, sd), mode="nearest")
        if self.noise_sd > 0:
            noise = [seeds.at_image(seed, first + i).standard_normal(images.shape[1:]) for i in range(len(images))]
            images = np.clip(images + self.noise_sd * np.stack(noise), 0, 1).astype(np.float32)
        return images


def of_set(
    name: str,
    images: ImageSet,
    channels: tuple[str, ...],
    size: int,
    degradation: Degradation | None = None,
    seed: int = 0,
) -> Queries:
    """Return the queries of an image set, as the audit compares them."""
    masked = MASK in images.channels

    def load(start: int, stop: int) -> tuple[Images, Masks | None]:
        rows = slice(start, stop)
        block = analysis_images(images.read(rows, channels), size)
        if degradation is not None:
            block = degradation.apply(block, seed, start)
        return block, analysis_masks(images.read(rows, (MASK,))[:, 0], size) if masked else None

    shaped = None if degradation is None else [degradation.blur_sd, degradation.noise_sd, seed]
    return Queries(name, [VERSION, images.content, channels, size, shaped], len(images), load)
