"""From subjects to numbers: means over test subjects and training seeds, ratios of them, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthrelease.metrics.intervals import percentile_interval, resampled_subjects

Table = NDArray[np.float64]
"""(seeds, subjects, regions); NaN where a region is empty and a measure therefore unknown."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where nothing is known."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Draws:
    """Which subjects, and which seeds of each training set, every bootstrap draw took."""

    subjects: NDArray[np.int64]  # (draws, subjects): how often
    seeds: NDArray[np.int64]  # (draws, seeds)


def drawn(*, subjects: int, seeds: int, draws: int, random: np.random.Generator) -> Draws:
    """Return bootstrap draws of test subjects and of training seeds, each with replacement."""
    return Draws(resampled_subjects(subjects, draws, random), resampled_subjects(seeds, draws, random))


def mean_in(table: Table, taken: Draws) -> NDArray[np.float64]:
    """Return each draw's mean (draws,): over known subjects, then over seeds, then over regions; NaN: none known.

    Args:
        table: (seeds, subjects, regions).
        taken: How often each subject and seed counts.
    """
    known = ~np.isnan(table)
    sums = np.einsum("dn,snr->dsr", taken.subjects, np.where(known, table, 0.0))
    counts = np.einsum("dn,snr->dsr", taken.subjects, known)
    per_seed = _ratio(sums, counts)
    per_region = _mean(per_seed, taken.seeds[:, :, None], axis=1)
    return _mean(per_region, np.ones_like(per_region), axis=1)


def _mean(values: NDArray[np.float64], weights: NDArray[np.generic], axis: int) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    return _ratio((np.where(known, values, 0.0) * weights).sum(axis), (known * weights).sum(axis))


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.generic]) -> NDArray[np.float64]:
    out = np.full(sums.shape, math.nan)
    np.divide(sums, counts, out=out, where=np.asarray(counts) != 0)
    return out


def once(table: Table) -> Draws:
    """Return the one draw that takes every subject and seed once: the sample itself."""
    return Draws(np.ones((1, table.shape[1]), np.int64), np.ones((1, table.shape[0]), np.int64))


def mean_estimate(table: Table, taken: Draws) -> Estimate:
    """Return the mean of a table with its interval over subjects and seeds."""
    return _estimate(float(mean_in(table, once(table))[0]), mean_in(table, taken))


def ratio_estimate(table: Table, reference: Table, *, taken: Draws, reference_taken: Draws) -> Estimate:
    """Return the ratio of two tables' means with its interval; both must have drawn the same subjects.

    Args:
        table: (seeds, subjects, regions) of the training set in question.
        reference: (seeds, subjects, regions) of the training on real images; the same subjects.
        taken: Draws of the first.
        reference_taken: Draws of the second: seeds of its own.
    """
    if not np.array_equal(taken.subjects, reference_taken.subjects):
        raise ValueError("a ratio needs the same subjects above and below")
    below = float(mean_in(reference, once(reference))[0])
    value = float(mean_in(table, once(table))[0]) / below if below > 0 else math.nan
    bottoms = mean_in(reference, reference_taken)
    tops = mean_in(table, taken)
    return _estimate(value, np.divide(tops, bottoms, out=np.full(tops.shape, math.nan), where=bottoms > 0))


def _estimate(value: float, values: NDArray[np.float64]) -> Estimate:
    if math.isnan(value):
        return Estimate(None, None, None)
    known = values[~np.isnan(values)]
    # One subject or seed drawn again and again says nothing of others, but its interval is a point: callers count.
    low, high = percentile_interval(known) if len(known) else (value, value)
    return Estimate(value, low, high)


def table_of(rows: Sequence[Sequence[float | None]], *, seeds: int, regions: int) -> Table:
    """Return rows of seed by seed and subject by subject, columns of regions, as (seeds, subjects, regions)."""
    flat = np.array([[math.nan if v is None else v for v in row] for row in rows], dtype=np.float64)
    return flat.reshape(seeds, -1, regions)
