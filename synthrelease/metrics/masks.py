"""Label masks of whole sets: sizes, places and labels of tumours, and masks that no tumour has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, IntArray

CELLS = 16  # a side of the map of where tumours lie


@dataclass(frozen=True)
class MaskSums:
    """What is summed over label masks, and the tumour's area in each; sets are put together by `+`."""

    areas: FloatArray
    """(n,) tumour area of each mask, share of the image."""
    labels: IntArray
    """(k,) pixels of each label above 0."""
    off: int
    """Tumour pixels that carry none of the labels."""
    place: FloatArray
    """(16, 16) tumour pixels per cell of the image."""
    nesting: int
    """Masks whose innermost label touches more background than tumour."""

    def __add__(self, other: MaskSums) -> MaskSums:
        """Return the sums over both sets."""
        return MaskSums(
            np.concatenate([self.areas, other.areas]),
            self.labels + other.labels,
            self.off + other.off,
            self.place + other.place,
            self.nesting + other.nesting,
        )


def mask_sums(masks: npt.ArrayLike, labels: npt.ArrayLike) -> MaskSums:
    """Return the sums over a block of label masks (k, h, w).

    Args:
        masks: 0 is background.
        labels: the legal values above 0, the innermost (enhancing) tumour last.
    """
    block, known = np.asarray(masks), np.asarray(labels)
    tumour = block > 0
    place = np.zeros((CELLS, CELLS))
    rows, columns = (np.arange(side) * CELLS // side for side in block.shape[1:])
    np.add.at(place, (rows[:, None], columns[None, :]), tumour.sum(axis=0))
    counts = np.array([np.count_nonzero(block == label) for label in known], dtype=np.int64)
    nesting = sum(_touches_background(mask == known[-1], mask > 0) for mask in block) if len(known) > 1 else 0
    off = int(tumour.sum() - counts.sum())
    return MaskSums(tumour.mean(axis=(1, 2)), counts, off, place, nesting)


def _touches_background(inner: npt.NDArray[np.bool_], tumour: npt.NDArray[np.bool_]) -> bool:
    rim = ndimage.binary_dilation(inner) & ~inner
    return bool(rim.any() and tumour[rim].mean() < 0.5)


def mask_area_distance(*, real: MaskSums, synthetic: MaskSums) -> float:
    """Return the Wasserstein distance between tumour areas, in shares of the image; images without tumour count 0."""
    if not len(real.areas) or not len(synthetic.areas):
        raise AuditError("A set without masks has no tumour areas.", "Give masks in both sets.")
    return float(stats.wasserstein_distance(real.areas, synthetic.areas))


def mask_volume_distance(*, real: npt.ArrayLike, synthetic: npt.ArrayLike) -> float:
    """Return the Wasserstein distance between the subjects' tumour volumes, in their unit; subjects without count 0.

    Args:
        real: volume of each subject, (n,) or (n, 1), n >= 1.
        synthetic: likewise.

    Raises:
        AuditError: no subjects, or volumes that are below 0, NaN or infinite.
    """
    volumes = [np.asarray(each, dtype=np.float64).ravel() for each in (real, synthetic)]
    if not all(len(each) and np.isfinite(each).all() and (each >= 0).all() for each in volumes):
        raise AuditError("Tumour volumes must be 0 or more, of one subject at least.", "Give one volume per subject.")
    return float(stats.wasserstein_distance(*volumes))


def mask_place_overlap(*, real: MaskSums, synthetic: MaskSums) -> float:
    """Return the share of tumour pixels that lie where real ones do, 0 to 1: overlap of two 16 x 16 heat maps."""
    return float(np.minimum(shares(real.place), shares(synthetic.place)).sum())


def mask_label_distance(*, real: MaskSums, synthetic: MaskSums) -> float:
    """Return the share of tumour pixels that would need another label for the mix to be as in real masks, 0 to 1."""
    first, second = shares(real.labels.astype(np.float64)), shares(synthetic.labels.astype(np.float64))
    return float(np.abs(first - second).sum() / 2)


def mask_off_level(*, synthetic: MaskSums) -> float:
    """Return the share of tumour pixels that carry no legal label, 0 to 1."""
    total = synthetic.off + int(synthetic.labels.sum())
    if not total:
        raise AuditError("The masks hold no tumour.", "Give masks with labels above 0.")
    return synthetic.off / total


def mask_nesting(*, synthetic: MaskSums) -> float:
    """Return the share of masks whose innermost label touches more background than tumour, 0 to 1."""
    if not len(synthetic.areas):
        raise AuditError("There are no masks.", "Give masks.")
    return synthetic.nesting / len(synthetic.areas)


def shares(counts: FloatArray) -> FloatArray:
    """Return counts as shares of their sum.

    Raises:
        AuditError: they are all 0.
    """
    total = float(counts.sum())
    if total <= 0:
        raise AuditError("One of the sets holds no tumour.", "Give masks with labels above 0 in both.")
    return counts / total
