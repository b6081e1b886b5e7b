"""The floor under every Dice: what one fixed mask for everybody scores."""

from __future__ import annotations

import numpy as np
import pytest

from synthrelease.image_set import ImageRow, ImageSet, from_arrays
from synthrelease.segmentation.chance import chance_dice
from synthrelease.segmentation.labels import Labels

LESION = Labels((0, 255), ("lesion",), (("lesion", (1,)),))


def _set(masks: list[np.ndarray], subjects: list[str]) -> ImageSet:
    pixels = np.zeros((len(masks), 2, 8, 8), np.uint8)
    pixels[:, 1] = np.array(masks)
    rows = [ImageRow(f"{name}/{i}", name, i) for i, name in enumerate(subjects)]
    return from_arrays(pixels, rows, channels=("FLAIR", "mask"))


def _square(top: int, left: int, side: int = 4) -> np.ndarray:
    mask = np.zeros((8, 8), np.uint8)
    mask[top : top + side, left : left + side] = 255
    return mask


def test_where_all_tumours_lie_at_one_place_a_fixed_mask_is_perfect() -> None:
    train, test = _set([_square(2, 2)] * 4, ["a", "a", "b", "c"]), _set([_square(2, 2)] * 2, ["x", "y"])
    assert chance_dice(train=train, test=test, labels=LESION) == {"lesion": {"x": 1.0, "y": 1.0}}


def test_its_dice_is_that_of_the_overlap_over_all_slices_of_a_subject() -> None:
    train = _set([_square(2, 2)] * 3, ["a", "b", "c"])
    test = _set([_square(2, 2), _square(2, 4), _square(2, 2) * 0], ["x", "x", "x"])
    # 16 + 8 pixels shared; 32 true, 48 drawn
    assert chance_dice(train=train, test=test, labels=LESION)["lesion"]["x"] == pytest.approx(2 * 24 / (32 + 48))


def test_the_mask_is_the_one_that_suits_the_train_subjects_best() -> None:
    # Three of four lie together: their square gives 3/4 in the mean, both squares together 2/3.
    train = _set([_square(0, 0)] * 3 + [_square(4, 4)], ["a", "b", "c", "d"])
    test = _set([_square(0, 0), _square(4, 4)], ["x", "y"])
    assert chance_dice(train=train, test=test, labels=LESION) == {"lesion": {"x": 1.0, "y": 0.0}}


def test_a_region_that_a_subject_lacks_has_no_score() -> None:
    train = _set([_square(0, 0)] * 2, ["a", "b"])
    assert chance_dice(train=train, test=_set([_square(0, 0) * 0], ["x"]), labels=LESION) == {"lesion": {"x": None}}


def test_a_region_that_no_train_subject_has_scores_nothing() -> None:
    train = _set([_square(0, 0) * 0] * 2, ["a", "b"])
    assert chance_dice(train=train, test=_set([_square(0, 0)], ["x"]), labels=LESION) == {"lesion": {"x": 0.0}}
