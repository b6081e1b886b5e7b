"""What a mask's grey levels mean: classes that a network tells apart, and regions on which it is scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthrelease.errors import SegmentationError
from synthrelease.image_set import MASK, ImageSet

STANDARD = (0, 51, 102, 204)  # background, NCR, ED, ET as prepared
TUMOUR = ("NCR", "ED", "ET")
MOST_LEVELS = 8  # a mask with more values was blurred by a generator: the standard levels are meant
_SCAN = 64  # images looked at together


@dataclass(frozen=True)
class Labels:
    """Classes 1 to k by grey level and name, and the regions that they make up."""

    levels: tuple[int, ...]  # ascending; the first is background, 0
    names: tuple[str, ...]  # of classes 1 to k
    regions: tuple[tuple[str, tuple[int, ...]], ...]  # region and the classes in it

    @property
    def classes(self) -> int:
        """How many, background included."""
        return len(self.levels)

    def of(self, mask: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the class of every pixel: that of the nearest level, as the study's cuts 25.5, 76.5 and 153."""
        levels = np.array(self.levels, dtype=np.float64)
        return np.searchsorted((levels[1:] + levels[:-1]) / 2, mask, side="left").astype(np.uint8)

    def region(self, classes: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
        """Return where a map of classes shows a region."""
        return np.isin(classes, dict(self.regions)[name])


def labels_of(images: ImageSet) -> Labels:
    """Return the labels that an image set's masks use.

    Levels among 0, 51, 102, 204 with two or more labels are the tumour's: NCR, ED, ET, and the regions whole tumour
    (WT), tumour core (TC) and ET. One label alone is called "lesion". A mask with more than 8 levels was blurred, and
    the tumour's levels are meant.

    Raises:
        SegmentationError: There are no masks, they are empty, or their values are no levels from 0 to 255.
    """
    levels = levels_of(images)
    if len(levels) > MOST_LEVELS or (len(levels) > 2 and set(levels) <= set(STANDARD)):
        regions = tuple((name, (i,)) for i, name in enumerate(TUMOUR, 1))
        return Labels(STANDARD, TUMOUR, (*regions, ("WT", (1, 2, 3)), ("TC", (1, 3))))
    if len(levels) < 2:
        raise SegmentationError("Every mask is empty: there is nothing to learn.", "Use images that show the region.")
    if len(levels) == 2:
        return Labels(levels, ("lesion",), (("lesion", (1,)),))
    names = tuple(f"label{level}" for level in levels[1:])
    regions = tuple((name, (i,)) for i, name in enumerate(names, 1))
    return Labels(levels, names, (*regions, ("all", tuple(range(1, len(levels))))))


def levels_of(images: ImageSet) -> tuple[int, ...]:
    """Return the values that the masks hold, 0 among them, ascending; raises as `labels_of`."""
    if MASK not in images.channels:
        raise SegmentationError(
            f"The images have the channels {', '.join(images.channels)}, and no mask.",
            "Prepare them from a folder with masks, or train the generator on images with masks.",
        )
    found = {0.0}
    for block in images.blocks(_SCAN, (MASK,)):
        found.update(np.unique(block).tolist())
    if not all(np.isfinite(v) and 0 <= v <= 255 for v in found):
        raise SegmentationError("A mask holds values outside 0 to 255.", "Prepare the images again.")
    return tuple(sorted({int(v) for v in found}))
