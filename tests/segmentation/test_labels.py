"""Grey levels to classes and regions."""

from __future__ import annotations

import numpy as np
import pytest
from segmentation_helpers import BRATS, tumours

from synthrelease.errors import SegmentationError
from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.segmentation.labels import labels_of


def test_the_tumour_has_three_labels_and_five_regions() -> None:
    labels = labels_of(tumours(channels=BRATS, levels=(102, 51, 204)))
    assert labels.levels == (0, 51, 102, 204)
    assert labels.names == ("NCR", "ED", "ET")
    assert dict(labels.regions) == {"NCR": (1,), "ED": (2,), "ET": (3,), "WT": (1, 2, 3), "TC": (1, 3)}


def test_grey_values_in_between_are_cut_where_the_study_cut_them() -> None:
    labels = labels_of(tumours(channels=BRATS, levels=(102, 51, 204)))
    grey = np.array([0, 25, 26, 51, 76, 77, 102, 153, 154, 204, 255])
    assert labels.of(grey).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_whole_tumour_and_core_are_unions() -> None:
    labels = labels_of(tumours(channels=BRATS, levels=(102, 51, 204)))
    classes = np.array([0, 1, 2, 3], np.uint8)
    assert labels.region(classes, "WT").tolist() == [False, True, True, True]
    assert labels.region(classes, "TC").tolist() == [False, True, False, True]


@pytest.mark.parametrize("level", [1, 51, 255])
def test_one_label_is_a_lesion_whatever_its_level(level: int) -> None:
    labels = labels_of(tumours(levels=(level,)))
    assert (labels.classes, labels.names, labels.regions) == (2, ("lesion",), (("lesion", (1,)),))


def test_other_labels_keep_their_numbers() -> None:
    labels = labels_of(tumours(levels=(10, 20, 30)))
    assert labels.names == ("label10", "label20", "label30")
    assert dict(labels.regions)["all"] == (1, 2, 3)


def test_a_blurred_mask_means_the_standard_levels() -> None:
    labels = labels_of(tumours(levels=tuple(range(20, 240, 20))))
    assert labels.levels == (0, 51, 102, 204)


def test_a_core_alone_is_still_a_tumour() -> None:
    assert labels_of(tumours(levels=(51, 204))).names == ("NCR", "ED", "ET")


def test_sets_without_usable_masks_are_refused() -> None:
    with pytest.raises(SegmentationError, match="no mask"):
        labels_of(tumours(channels=("T1", "T2")))
    with pytest.raises(SegmentationError, match="Every mask is empty"):
        labels_of(tumours(levels=()))
    wild = np.full((2, 1, 4, 4), np.inf, np.float32)
    with pytest.raises(SegmentationError, match="outside 0 to 255"):
        labels_of(from_arrays(wild, [ImageRow("a", "a"), ImageRow("b", "b")], channels=("mask",)))
