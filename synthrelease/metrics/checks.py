"""What every metric checks before it computes: tables that cannot be measured are refused, all problems at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synthrelease.errors import AuditError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Labels = npt.ArrayLike


_ROWS = 4096  # looked at together: a check must not copy the table


def feature_tables(minimum: int = 2, **tables: npt.ArrayLike) -> tuple[FloatArray, ...]:
    """Return the named feature tables as contiguous float64, checked as `checked_tables` does, in the order given."""
    arrays = checked_tables(minimum=minimum, varied=True, **tables)
    return tuple(np.ascontiguousarray(array, dtype=np.float64) for array in arrays)


def checked_tables(
    minimum: int = 2, varied: bool = True, **tables: npt.ArrayLike
) -> tuple[npt.NDArray[np.generic], ...]:
    """Return the named feature tables as they are, memory-mapped ones included, in the order given.

    Args:
        minimum: least number of rows (images) in each.
        varied: refuse a table with the same features for every image.
        tables: (n, d) features by role (`real`, `train`, `holdout`, `synthetic`), one row per image, all of one width.

    Raises:
        AuditError: with every problem found: not numbers, not two-dimensional, too few rows, NaN or infinity,
            the same features for every image, widths that differ.
    """
    arrays = {name: np.asarray(table) for name, table in tables.items()}
    problems = [problem for name, array in arrays.items() if (problem := _problem(name, array, minimum, varied))]
    if not problems and len({array.shape[1] for array in arrays.values()}) > 1:
        widths = ", ".join(f"{name} {array.shape[1]}" for name, array in arrays.items())
        problems.append(f"The feature tables differ in width: {widths}.")
    if problems:
        raise AuditError("\n".join(problems), "Extract all roles with one extractor, and leave out images that failed.")
    return tuple(arrays.values())


def _problem(name: str, array: npt.NDArray[np.generic], minimum: int, varied: bool) -> str | None:
    if array.dtype.kind not in "fiub":
        return f"{name} holds {array.dtype}, expected real numbers."
    if array.ndim != 2 or array.shape[1] == 0:
        return f"{name} has shape {array.shape}, expected (images, features)."
    if len(array) < minimum:
        return f"{name} has {len(array)} images, at least {minimum} are needed."
    parts = [array[start : start + _ROWS] for start in range(0, len(array), _ROWS)]
    if array.dtype.kind == "f":
        # NaN passes through both, and neither makes a copy of the part.
        largest = np.array([max(float(part.max()), -float(part.min())) for part in parts])
        if not np.isfinite(largest).all():
            bad = sum(int(np.count_nonzero(~np.isfinite(part).all(axis=1))) for part in parts)
            return f"{name} has {bad} images with features that are NaN or infinite."
        # Squares must stay finite, else a distance becomes infinite or NaN further down.
        if largest.max() > 1e100:
            return f"{name} has features above 1e100, whose squares cannot be added."
    if varied and bool((array[-1] == array[0]).all()) and all(bool((part == array[0]).all()) for part in parts):
        return f"{name} has the same features for every image: nothing varies, so nothing can be measured."
    return None


def subject_codes(train: FloatArray, train_subjects: Labels | None) -> IntArray:
    """Return one integer per train image, equal where subjects are; without subjects, each image is its own.

    Raises:
        AuditError: another number of subjects than of images, or only one subject.
    """
    if train_subjects is None:
        return np.arange(len(train))
    labels = np.asarray(train_subjects)
    if labels.shape != (len(train),):
        raise AuditError(
            f"train has {len(train)} images, but its subjects have shape {labels.shape}.", "Give one subject per image."
        )
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    if codes.max() == 0:
        raise AuditError("All train images belong to one subject.", "Neighbours in other subjects need at least two.")
    return codes


def unit_rows(name: str, table: FloatArray) -> FloatArray:
    """Return the table with every row scaled to length 1, as the cosine asks.

    Raises:
        AuditError: rows of zeros, which have no direction.
    """
    largest = np.abs(table).max(axis=1, keepdims=True)
    if zeros := int(np.count_nonzero(largest == 0)):
        raise AuditError(
            f"{name} has {zeros} images whose features are all zero: their cosine is undefined.", "Leave them out."
        )
    # Dividing by the largest entry first keeps the squares of tiny or huge rows within range.
    scaled = table / largest
    return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))
