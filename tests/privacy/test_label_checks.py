"""Masks: levels, nesting and areas, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from synthrelease.image_set import ImageRow, from_arrays
from synthrelease.privacy.label_checks import check_masks


def a_set(masks, subjects=None):
    masks = np.asarray(masks, np.uint8)
    pixels = np.stack([np.zeros_like(masks), masks], axis=1)
    names = subjects or [""] * len(masks)
    return from_arrays(pixels, [ImageRow(str(i), s) for i, s in enumerate(names)], channels=("T1", "mask"))


def tumour(size=8, *, oedema=True, side=20):
    mask = np.zeros((side, side), np.uint8)
    mask[2 : 2 + size, 2 : 2 + size] = 102 if oedema else 0
    mask[4:size, 4:size] = 204
    mask[5 : size - 1, 5 : size - 1] = 51
    return mask


def check(synthetic, holdout=None, real=None):
    return check_masks(real=a_set(real if real is not None else [tumour()]), synthetic=synthetic, holdout=holdout)


def test_legal_masks_are_clean():
    found = check(a_set([tumour(), tumour(10)]))

    assert (found.images, found.off_level_share, found.nesting_violations) == (2, 0.0, 0.0)
    assert found.area_p_value is None


def test_pixels_between_the_levels_are_counted_as_a_share_of_the_tumour():
    mask = tumour()
    mask[2, 2:6] = 77

    assert check(a_set([mask])).off_level_share == pytest.approx(4 / 64)


def test_enhancing_tumour_in_the_open_is_a_nesting_violation():
    found = check(a_set([tumour(), tumour(oedema=False)]))

    assert found.nesting_violations == 0.5
    assert found.nesting_violations_real == 0.0


def test_areas_are_shares_of_the_image():
    found = check(a_set([tumour(10), tumour(10), np.zeros((20, 20))]), real=[tumour()])

    assert found.area_quantiles_real == pytest.approx((64 / 400,) * 3)
    assert found.area_quantiles[2] == pytest.approx(0.25)


def test_without_masks_on_either_side_there_is_nothing_to_check():
    plain = from_arrays(np.zeros((2, 1, 8, 8)), [ImageRow("a"), ImageRow("b")], channels=("T1",))

    assert check_masks(real=plain, synthetic=a_set([tumour()]), holdout=None) is None
    assert check_masks(real=a_set([tumour()]), synthetic=plain, holdout=None) is None


def drawn(count, seed, each=1, largest=14):
    random = np.random.default_rng(seed)
    sizes = np.repeat(random.integers(6, largest, count), each)
    return [tumour(int(np.clip(s + random.integers(-1, 2), 6, 15))) for s in sizes]


def test_areas_of_one_law_are_seldom_called_different_though_subjects_have_many_slices():
    p = []
    for seed in range(60):
        names = [f"h{i // 5}" for i in range(60)]
        found = check(a_set(drawn(40, seed)), holdout=a_set(drawn(12, 1000 + seed, each=5), names))
        p.append(found.area_p_value)

    assert np.mean(np.array(p) <= 0.05) <= 0.12


def test_larger_tumours_are_noticed():
    names = [f"h{i // 2}" for i in range(60)]

    found = check(a_set([tumour(15)] * 40), holdout=a_set(drawn(30, 0, each=2, largest=9), names))

    assert found.area_p_value < 0.001


def test_the_order_of_synthetic_masks_does_not_matter():
    masks, names = drawn(40, 0), [f"h{i // 5}" for i in range(60)]
    held = a_set(drawn(12, 1, each=5), names)
    ordered = sorted(masks, key=lambda mask: mask.sum())

    assert check(a_set(masks), holdout=held).area_p_value == check(a_set(ordered), holdout=held).area_p_value
