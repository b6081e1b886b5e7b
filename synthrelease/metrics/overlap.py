"""How well two masks of one region agree: Dice, and Hausdorff distance between their surfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from synthrelease.errors import AuditError

Mask = NDArray[Any]
Distances = NDArray[np.float64]


def dice(*, predicted: Mask, truth: Mask) -> float:
    """Return 2 |A and B| / (|A| + |B|): 1 for equal masks, 0 for disjoint ones, NaN where both are empty.

    Args:
        predicted: Boolean or 0 / 1 array of any shape.
        truth: The same shape.

    Raises:
        AuditError: Shapes differ, or values are neither 0 nor 1.

    Source: Dice 1945.
    """
    first, second = _masks(predicted, truth)
    both = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / both if both else math.nan


def hausdorff(
    *, predicted: Mask, truth: Mask, spacing: Sequence[float] | None = None, percentile: float | None = None
) -> float:
    """Return the Hausdorff distance between the surfaces of two masks; NaN where either is empty.

    Args:
        predicted: Boolean or 0 / 1 array of 1 to 3 axes.
        truth: The same shape.
        spacing: Size of a voxel along each axis, mm; 1 everywhere when None.
        percentile: None is the maximum, 95 the customary robust version: the larger of both directions' percentiles.

    Returns:
        mm (in the unit of ``spacing``). A surface voxel is one with a face neighbour outside the mask; beyond the
        array lies the outside.

    Raises:
        AuditError: Shapes differ, values are neither 0 nor 1, spacing does not fit, or percentile is not in 0..100.

    Source: Huttenlocher et al. 1993; percentiles as in MONAI and DeepMind's surface-distance.
    """
    values = hausdorffs(predicted=predicted, truth=truth, spacing=spacing, percentiles=(percentile,))
    return values[0]


def hausdorffs(
    *,
    predicted: Mask,
    truth: Mask,
    spacing: Sequence[float] | None = None,
    percentiles: Sequence[float | None] = (None, 95.0),
) -> tuple[float, ...]:
    """Return `hausdorff` for several percentiles, with the distances computed once."""
    first, second = _masks(predicted, truth)
    sides = _spacing(spacing, first.ndim)
    for percentile in percentiles:
        if percentile is not None and not 0 <= percentile <= 100:
            raise AuditError(f"A percentile lies between 0 and 100, not at {percentile}.")
    if not first.any() or not second.any():
        return (math.nan,) * len(percentiles)
    there, back = _surface_distances(first, second, sides)
    return tuple(max(_at(there, percentile), _at(back, percentile)) for percentile in percentiles)


def _at(distances: Distances, percentile: float | None) -> float:
    return float(distances.max() if percentile is None else np.percentile(distances, percentile))


def _surface_distances(first: Mask, second: Mask, sides: NDArray[np.float64]) -> tuple[Distances, Distances]:
    """Return each surface voxel's distance to the other surface, in both directions."""
    # A tree over the few surface voxels, because a distance map of a whole volume costs a hundred times more.
    one, two = _surface(first) * sides, _surface(second) * sides
    return np.asarray(KDTree(two).query(one)[0]), np.asarray(KDTree(one).query(two)[0])


def _surface(mask: Mask) -> NDArray[np.int64]:
    """Return the coordinates (k, axes) of the mask's surface voxels."""
    places = np.argwhere(mask)
    box = tuple(slice(low, high + 1) for low, high in zip(places.min(axis=0), places.max(axis=0), strict=True))
    inside = mask[box]
    return np.asarray(np.argwhere(inside & ~binary_erosion(inside)) + places.min(axis=0), dtype=np.int64)


def _masks(predicted: Mask, truth: Mask) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = np.asarray(predicted), np.asarray(truth)
    problems = []
    if first.shape != second.shape or first.ndim == 0:
        problems.append(f"predicted has shape {first.shape} and truth {second.shape}.")
    for name, mask in (("predicted", first), ("truth", second)):
        if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
            problems.append(f"{name} holds values other than 0 and 1.")
    if problems:
        raise AuditError(
            "Masks cannot be compared: " + " ".join(problems), "Pass one region of equal shapes at a time."
        )
    return first.astype(np.bool_), second.astype(np.bool_)


def _spacing(spacing: Sequence[float] | None, axes: int) -> NDArray[np.float64]:
    sides = np.ones(axes) if spacing is None else np.asarray(spacing, dtype=np.float64)
    if sides.shape != (axes,) or not (np.isfinite(sides).all() and (sides > 0).all()):
        raise AuditError(
            f"spacing {spacing} does not fit masks of {axes} axes.", "Give one positive size in mm per axis."
        )
    return sides
