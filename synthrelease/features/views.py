"""Image sets as quality measures see them: each contrast alone as grey, and three contrasts as colours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from synthrelease.features.analysis import VERSION, analysis_images
from synthrelease.features.interface import Extractor, ExtractorInfo, checked_features, checked_images

COLOURS = 3
Scaling = Literal["bytes", "analysis"]


@dataclass(frozen=True)
class View:
    """One way to look at images, and the extractor that does."""

    name: str
    """The contrast, or three of them joined by `+` in the order of the network's colours."""
    channels: tuple[str, ...]
    extractor: Extractor
    classes: int = 0
    """Class probabilities at the end of each feature row; 0 where the extractor has no head."""


class _HasClasses(Protocol):
    classes: int
    info: ExtractorInfo

    def with_classes(self, colours: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features and probabilities."""


def views_of(extractor: Extractor, contrasts: tuple[str, ...]) -> tuple[View, ...]:
    """Return a view per contrast, and one of the first three contrasts together where there are three.

    A network made for colours (Inception, RadImageNet) sees the three as its colours; others embed each, side by side.
    """
    groups = [(name,) for name in contrasts]
    if len(contrasts) >= COLOURS:
        groups.append(contrasts[:COLOURS])  # type: ignore[arg-type]
    return tuple(_view(extractor, group) for group in groups)


def _view(extractor: Extractor, channels: tuple[str, ...]) -> View:
    name = "+".join(channels)
    if hasattr(extractor, "with_classes"):
        known = cast(_HasClasses, extractor)
        return View(name, channels, _WithClasses(known), known.classes)
    if len(channels) == COLOURS and extractor.info.name.startswith("radimagenet-"):
        return View(name, channels, _Colours(extractor))
    return View(name, channels, extractor)


class _WithClasses:
    """Features and class probabilities in one row, so that images pass through the network once."""

    def __init__(self, extractor: _HasClasses) -> None:
        self.inner = extractor
        made = f"{extractor.info.preprocessing}/colours or grey/probabilities appended"
        self.info = replace(extractor.info, preprocessing=made)

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, d + k) of images with one channel (grey) or three (colours)."""
        colours = np.repeat(images, COLOURS, axis=1) if images.shape[1] == 1 else images
        return np.concatenate(self.inner.with_classes(colours), axis=1)


class _Colours:
    """RadImageNet on three contrasts as its three colours, the first one where the files have blue."""

    def __init__(self, extractor: Any) -> None:
        self.inner = extractor
        self.info = replace(extractor.info, preprocessing=f"{extractor.info.preprocessing}/three contrasts as colours")

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, d) of images (n, 3, h, w) in [0, 1]."""
        rows: NDArray[np.float32] = self.inner.pooled(torch.from_numpy(checked_images(images))).numpy()
        return checked_features(rows)


def scaling_for(*dtypes: object) -> Scaling:
    """Return `bytes` where all sets hold 8-bit images, which keep their brightness, else `analysis`."""
    return "bytes" if all(np.dtype(cast(Any, dtype)) == np.uint8 for dtype in dtypes) else "analysis"


def scaled(pixels: NDArray[Any], scaling: Scaling, size: int) -> NDArray[np.float32]:
    """Return square images (n, c, s, s) in [0, 1] of stored pixels (n, c, h, w).

    bytes: divided by 255 and padded with 0 to a square, s = max(h, w); analysis: every contrast of every image by its
    own range, s = size.
    """
    if scaling == "analysis":
        return analysis_images(pixels, size)
    h, w = pixels.shape[2:]
    side = max(h, w)
    top, left = (side - h) // 2, (side - w) // 2
    padded = np.pad(pixels, ((0, 0), (0, 0), (top, side - h - top), (left, side - w - left)))
    return np.asarray(padded / np.float32(255), dtype=np.float32)


def scaling_id(scaling: Scaling, size: int) -> str:
    """Return what happens to stored pixels before the extractor, for records and cache keys."""
    return "x/255, padded to a square" if scaling == "bytes" else f"{VERSION} at {size}"
