"""Descriptors without weights: small pixels in the canonical frame, the same for an image and its mirror image."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray

from synthrelease.features.canonical import VERSION, canonical_frame
from synthrelease.features.interface import ExtractorInfo


class PlainPixels:
    """Pixels where they lie: finds what the canonical frame loses, strong deformations and blends."""

    size = 32

    def __init__(self) -> None:
        self.info = ExtractorInfo(
            name="plain-pixels",
            preprocessing=f"plain-1/{self.size}px",
            weights_sha256=None,
            fitted_on="nothing",
            mirror_invariant=False,
        )

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, c * 32 * 32) features of images (n, c, h, w)."""
        small = nn.interpolate(torch.from_numpy(images), (self.size, self.size), mode="bilinear", antialias=True)
        return small.flatten(1).numpy()


class CanonicalPixels:
    """Pixels of the canonical frame, the same for an image and its mirror image."""

    def __init__(self, size: int = 24) -> None:
        self.size = size
        self.info = ExtractorInfo(
            name="canonical-pixels",
            preprocessing=f"{VERSION}/{size}px/mirror-folded-1",
            weights_sha256=None,
            fitted_on="nothing",
            mirror_invariant=True,
        )

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, d) features of images (n, c, h, w); the mirror image has the same features.

        The symmetric half is the average with the mirror image; the antisymmetric half enters by its absolute
        value, so that left-right differences still tell patients apart.
        """
        framed = canonical_frame(images, self.size)
        mirrored = framed[..., ::-1]
        half = framed.shape[-1] // 2
        even = 0.5 * (framed + mirrored)[..., : self.size - half]
        odd = 0.5 * np.abs(framed - mirrored)[..., :half]
        return np.concatenate([even.reshape(len(images), -1), odd.reshape(len(images), -1)], axis=1)
