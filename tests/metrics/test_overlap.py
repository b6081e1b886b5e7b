"""Dice and Hausdorff: closed forms, a version by brute force, MONAI's, empty masks, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from monai.metrics import compute_dice, compute_hausdorff_distance
from numpy.typing import NDArray

from synthrelease.errors import AuditError
from synthrelease.metrics.overlap import dice, hausdorff, hausdorffs

Mask = NDArray[np.bool_]


def _surface(mask: Mask, sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places (k, axes) in mm of voxels with a face neighbour outside: looked at one by one."""
    found = []
    for place in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                if not 0 <= other[axis] < mask.shape[axis] or not mask[tuple(other)]:
                    found.append(tuple(place))
    return np.array(sorted(set(found)), dtype=float) * sides


def _by_brute_force(first: Mask, second: Mask, sides: tuple[float, ...], percentile: float) -> float:
    one, two = _surface(first, np.array(sides)), _surface(second, np.array(sides))
    apart = np.sqrt(((one[:, None] - two[None]) ** 2).sum(-1))
    return max(float(np.percentile(apart.min(1), percentile)), float(np.percentile(apart.min(0), percentile)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Mask, Mask, tuple[float, ...]]:
    """Return two random masks of one shape, 2-D or 3-D, sparse to dense, and anisotropic voxels."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=2, max_size=3)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shares = draw(st.tuples(*[st.sampled_from((0.05, 0.3, 0.7, 1.0))] * 2))
    sides = draw(st.tuples(*[st.sampled_from((0.5, 1.0, 3.3))] * len(shape)))
    return random.random(shape) < shares[0], random.random(shape) < shares[1], sides


@settings(deadline=None, max_examples=80)
@given(pairs())
def test_both_equal_brute_force_and_monai_on_random_masks(case: tuple[Mask, Mask, tuple[float, ...]]) -> None:
    first, second, sides = case
    assume(first.any() and second.any())
    one, two = (torch.from_numpy(m)[None, None].float() for m in (first, second))
    overlap = 2 * sum(a and b for a, b in zip(first.flat, second.flat, strict=True)) / (first.sum() + second.sum())
    assert dice(predicted=first, truth=second) == pytest.approx(float(overlap))
    assert dice(predicted=first, truth=second) == pytest.approx(float(compute_dice(one, two)[0, 0]), rel=1e-5)
    for percentile in (None, 95.0, 50.0):
        ours = hausdorff(predicted=first, truth=second, spacing=sides, percentile=percentile)
        assert ours == pytest.approx(_by_brute_force(first, second, sides, percentile or 100.0), rel=1e-9)
        theirs = compute_hausdorff_distance(
            one, two, include_background=True, percentile=percentile, spacing=list(sides)
        )
        assert ours == pytest.approx(float(theirs[0, 0]), rel=1e-5)


@settings(deadline=None, max_examples=50)
@given(pairs())
def test_both_are_symmetric_and_mirroring_changes_nothing(case: tuple[Mask, Mask, tuple[float, ...]]) -> None:
    first, second, sides = case
    there = hausdorffs(predicted=first, truth=second, spacing=sides)
    assert np.array_equal(there, hausdorffs(predicted=second, truth=first, spacing=sides), equal_nan=True)
    mirrored = hausdorffs(predicted=first[::-1], truth=second[::-1], spacing=sides)
    assert np.allclose(there, mirrored, equal_nan=True)
    score = dice(predicted=first, truth=second)
    assert np.array_equal(score, dice(predicted=second, truth=first), equal_nan=True)
    assert math.isnan(score) or 0 <= score <= 1


def test_two_points_are_as_far_apart_as_millimetres_say() -> None:
    first, second = np.zeros((3, 4, 5), bool), np.zeros((3, 4, 5), bool)
    first[0, 0, 0] = second[2, 3, 4] = True
    assert hausdorff(predicted=first, truth=second) == pytest.approx(math.sqrt(4 + 9 + 16))
    assert hausdorff(predicted=first, truth=second, spacing=(5, 1, 0.5)) == pytest.approx(math.sqrt(100 + 9 + 4))
    assert dice(predicted=first, truth=second) == 0


def test_a_square_moved_by_half_its_side_has_a_dice_of_one_half() -> None:
    first, second = np.zeros((20, 20), int), np.zeros((20, 20), int)
    first[4:12, 4:12] = second[8:16, 4:12] = 1
    assert dice(predicted=first, truth=second) == pytest.approx(0.5)
    assert hausdorff(predicted=first, truth=second, spacing=(2, 1)) == pytest.approx(8)


def test_one_stray_voxel_moves_the_maximum_and_not_the_95_percent() -> None:
    truth = np.zeros((64, 64), bool)
    truth[10:40, 10:40] = True
    stray = truth.copy()
    stray[60, 60] = True
    largest, robust = hausdorffs(predicted=stray, truth=truth)
    assert largest == pytest.approx(math.hypot(21, 21))
    assert robust == 0


def test_equal_masks_are_perfect_and_what_is_empty_is_unknown() -> None:
    full, empty = np.ones((3, 3), bool), np.zeros((3, 3), bool)
    assert dice(predicted=full, truth=full) == 1
    assert hausdorffs(predicted=full, truth=full) == (0, 0)
    assert dice(predicted=full, truth=empty) == dice(predicted=empty, truth=full) == 0
    assert math.isnan(dice(predicted=empty, truth=empty))
    for first, second in ((full, empty), (empty, full), (empty, empty)):
        assert all(math.isnan(value) for value in hausdorffs(predicted=first, truth=second))


@pytest.mark.parametrize(
    ("predicted", "truth", "options", "said"),
    [
        (np.ones((2, 2)), np.ones((2, 3)), {}, "shape"),
        (np.full((2, 2), 51), np.ones((2, 2)), {}, "other than 0 and 1"),
        (np.array([[0.0, np.nan]]), np.ones((1, 2)), {}, "other than 0 and 1"),
        (np.ones((2, 2)), np.ones((2, 2)), {"spacing": (1,)}, "axes"),
        (np.ones((2, 2)), np.ones((2, 2)), {"spacing": (1, 0)}, "positive"),
        (np.ones((2, 2)), np.ones((2, 2)), {"percentile": 101}, "between 0 and 100"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(predicted: Mask, truth: Mask, options: dict, said: str) -> None:
    with pytest.raises(AuditError, match=said):
        hausdorff(predicted=predicted, truth=truth, **options)
