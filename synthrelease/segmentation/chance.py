"""What a segmenter scores that has learnt nothing but where tumours usually lie: the floor under every Dice.

Where every slice shows a tumour, one fixed mask for everybody reaches a Dice far above 0, and so does a network that
was trained on images and masks that do not belong together. A relative Dice is only low or high beside this.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from synthrelease.image_set import MASK, ImageSet
from synthrelease.segmentation.labels import Labels

VERSION = 1  # raised when the same images would give other numbers
THRESHOLDS = 32  # tried shares of train images that must show a region at a pixel
_BLOCK = 64  # images read together

Floats = NDArray[np.float64]


def chance_dice(*, train: ImageSet, test: ImageSet, labels: Labels) -> dict[str, dict[str, float | None]]:
    """Return the Dice of a fixed mask per region and test subject; None where the region is absent.

    The mask of a region holds the pixels that show it in at least a share of the train images; that share is the one
    with the best mean Dice over the train subjects. It is laid on every slice.

    Args:
        train: Real images with subjects that the masks are taken from.
        test: Real images of other subjects, of the same size.
        labels: What the grey levels mean.

    Returns:
        Region to subject to Dice.
    """
    found: dict[str, dict[str, float | None]] = {}
    for region, _ in labels.regions:
        mask = _best(train, labels, region)
        subjects, scores = _dice(test, labels, region, mask[None])
        found[region] = {
            name: None if np.isnan(score) else float(score) for name, score in zip(subjects, scores[:, 0], strict=True)
        }
    return found


def _best(train: ImageSet, labels: Labels, region: str) -> NDArray[np.bool_]:
    """Return the fixed mask (h, w) that scores best on the train subjects."""
    shown = np.zeros(train.size)
    for shapes, _ in _shapes(train, labels, region):
        shown += shapes.sum(axis=0)
    share = shown / max(len(train), 1)
    tried = np.linspace(0, share.max(), THRESHOLDS + 1)[:-1]
    masks = share[None] > tried[:, None, None]
    _, scores = _dice(train, labels, region, masks)
    known = ~np.isnan(scores[:, 0])
    if not known.any():
        return np.zeros(train.size, dtype=bool)  # the region is in nobody
    chosen: NDArray[np.bool_] = masks[int(scores[known].mean(axis=0).argmax())]
    return chosen


def _dice(images: ImageSet, labels: Labels, region: str, masks: NDArray[np.bool_]) -> tuple[list[str], Floats]:
    """Return subjects and the Dice (subjects, masks) of laying each mask on all their slices; NaN: region absent."""
    subjects = sorted(set(images.subjects.tolist()))
    number = {name: place for place, name in enumerate(subjects)}
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    shared, truth, drawn = (np.zeros((len(subjects), len(masks))) for _ in range(3))
    for shapes, names in _shapes(images, labels, region):
        within = shapes.reshape(len(shapes), -1).astype(np.float32) @ flat.T
        for place, name in enumerate(names):
            row = number[name]
            shared[row] += within[place]
            truth[row] += shapes[place].sum()
            drawn[row] += flat.sum(axis=1)
    return subjects, np.where(truth > 0, 2 * shared / np.maximum(truth + drawn, 1), np.nan)


def _shapes(images: ImageSet, labels: Labels, region: str) -> Iterator[tuple[NDArray[np.bool_], list[str]]]:
    """Yield where images show a region (k, h, w), and whose they are."""
    start = 0
    for block in images.blocks(_BLOCK, (MASK,)):
        yield labels.region(labels.of(block[:, 0]), region), images.subjects[start : start + len(block)].tolist()
        start += len(block)
