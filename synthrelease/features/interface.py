"""What the audit knows about an extractor, and the one place that chooses among them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from synthrelease.errors import AuditError, SettingsError

FittedOn = Literal["nothing", "train"]
NAMES = (
    *("pixels", "copy-encoder", "radimagenet-resnet50", "radimagenet-inceptionv3", "radimagenet-densenet121"),
    "inception",
)


@dataclass(frozen=True)
class ExtractorInfo:
    """Everything about an extractor that changes its features; part of every cache key and report."""

    name: str
    preprocessing: str  # version of everything between pixels and features, in words
    weights_sha256: str | None  # None: there are no weights
    fitted_on: FittedOn  # "train" is fair for copy search, and refused where train and holdout play different roles
    mirror_invariant: bool  # embed(x) equals embed(x[..., ::-1])


class Extractor(Protocol):
    """Turns images into features; a row depends on its image alone."""

    @property
    def info(self) -> ExtractorInfo:
        """What made these features."""

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return finite features (n, d) of images (n, c, h, w) in [0, 1]; `NonFiniteFeatureError` names a bad row."""


class NonFiniteFeatureError(AuditError):
    """A feature is NaN or infinite; `row` counts within the images that were embedded together."""

    def __init__(self, row: int, image_id: str | None = None) -> None:
        name = f"Image {image_id!r}" if image_id is not None else f"Image number {row} (counted from 0)"
        super().__init__(
            f"{name} has a feature that is not a finite number.",
            "Its pixels are damaged or all alike beyond scaling: repair it, or exclude it by name.",
        )
        self.row = row


def load(name: str, weights: Path | None = None) -> Extractor:
    """Return the extractor called ``name``; only the one asked for is imported.

    Args:
        name: One of `NAMES`.
        weights: A weights file, for the RadImageNet and FID networks (else the imported one is used) and for
            a copy encoder that was trained on the user's own train images (else the shipped one).

    Raises:
        SettingsError: The name is unknown, or ``weights`` were given to an extractor that has none.
        WeightsError: The file is missing, or not what its name says.
    """
    match name:
        case "pixels":
            if weights is not None:
                raise SettingsError("The extractor 'pixels' has no weights.", f"Leave out {weights}.")
            from synthrelease.features.pixels import CanonicalPixels

            return CanonicalPixels()
        case "copy-encoder":
            from synthrelease.features.copy_encoder import CopyEncoder

            return CopyEncoder(weights)
        case "radimagenet-resnet50" | "radimagenet-inceptionv3" | "radimagenet-densenet121":
            from synthrelease.features.radimagenet import RadImageNet
            from synthrelease.features.weights import weights_for

            return RadImageNet(name, weights if weights is not None else weights_for(name))
        case "inception":
            from synthrelease.features.inception import Inception
            from synthrelease.features.weights import weights_for

            return Inception(weights if weights is not None else weights_for(name))
    raise unknown(name)


def unknown(name: str) -> SettingsError:
    """Return the error for a name that no extractor has, with the nearest one."""
    near = difflib.get_close_matches(name.lower(), NAMES, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return SettingsError(f"No extractor is called {name!r}.", f"{hint}Known: {', '.join(NAMES)}.")


def checked_images(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return images (n, c, h, w) in [0, 1] as float32, or raise an `AuditError` that says what is wrong."""
    if images.ndim != 4 or 0 in images.shape:
        raise AuditError(f"Images to embed have shape {images.shape}; expected (n, c, h, w), none of them 0.")
    images = np.ascontiguousarray(images, dtype=np.float32)
    low, high = float(images.min()), float(images.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also false for NaN
        rows = np.flatnonzero(~np.isfinite(images).all((1, 2, 3)))
        if rows.size:
            raise NonFiniteFeatureError(int(rows[0]))
        raise AuditError(f"Images to embed have values from {low:g} to {high:g}; expected 0 to 1.", "Scale them first.")
    return images


def checked_features(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features (n, d) as they are, or raise `NonFiniteFeatureError` for the first bad row."""
    rows = np.flatnonzero(~np.isfinite(features).all(1))
    if rows.size:
        raise NonFiniteFeatureError(int(rows[0]))
    return features
