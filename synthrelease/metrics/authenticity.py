"""Rules from the literature that compare a synthetic image's nearest train image with what is usual among real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, Labels, feature_tables, subject_codes
from synthrelease.metrics.neighbours import nearest


def authenticity(*, train: npt.ArrayLike, synthetic: npt.ArrayLike, train_subjects: Labels | None = None) -> float:
    """Return the percentage of synthetic images that are "authentic" (AuthPct); low points to copying.

    An image g with nearest train image x* is authentic when x* has another train image nearer to it than g is:
    d2(x*) < d(g, x*), strictly.

    Args:
        train: (n, d) features, n >= 2.
        synthetic: (m, d) features, m >= 2.
        train_subjects: (n,) subject of each train image; then x*'s other train image must come from another subject,
            because adjacent slices of one subject are nearer than any copy.

    Returns:
        0 to 100 percent.

    Raises:
        AuditError: tables that `feature_tables` refuses, subjects that do not fit them.

    Source: Alaa et al. 2022, authenticity (three published packages have the inequality the wrong way round).
    """
    X, G = feature_tables(train=train, synthetic=synthetic)
    codes = subject_codes(X, train_subjects)
    distances, indices = nearest(G, X)
    hit, inverse = np.unique(indices[:, 0], return_inverse=True)
    own = nearest(X[hit], X, exclude_groups=(codes[hit], codes))[0][:, 0]
    return float(100 * np.mean(own[inverse] < distances[:, 0]))


@dataclass(frozen=True)
class DistanceSummary:
    """A set of per-image distances in two numbers: the typical image and the closest ones."""

    median: float
    lowest_percent: float
    """1 % quantile: where copies show, long before they move the median."""
    count: int


def summarise(values: FloatArray) -> DistanceSummary:
    """Return median and 1 % quantile (linear interpolation) of per-image values such as `calibrated_l2` gives.

    Raises:
        AuditError: no values, or values that are not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise AuditError("Only a list of finite distances can be summarised.", "Leave out images without a distance.")
    median, low = np.quantile(values, [0.5, 0.01])
    return DistanceSummary(float(median), float(low), len(values))


def calibrated_l2(*, train: npt.ArrayLike, synthetic: npt.ArrayLike, neighbours: int = 50) -> FloatArray:
    """Return, per synthetic image, its distance to the nearest train image over half the mean to the nearest 50.

    Args:
        train: (n, d) features, or flattened pixels as in the source; n >= 2.
        synthetic: (m, d) likewise.
        neighbours: nearest train images that make up the mean, the nearest included; all of train where it has fewer.

    Returns:
        (m,) ratios from 0 (a verbatim copy) to 2 (no neighbour stands out). Where all these distances are 0, 0.

    Raises:
        AuditError: tables that `feature_tables` refuses, or fewer than two neighbours.

    Source: Carlini et al. 2023 (Extracting training data from diffusion models), with alpha = 0.5 and n = 50.
    """
    X, G = feature_tables(train=train, synthetic=synthetic)
    if neighbours < 2:
        raise AuditError("One neighbour has nothing to be compared with.", "Give neighbours=2 or more.")
    distances = nearest(G, X, min(neighbours, len(X)))[0]
    return _ratio(distances[:, 0], 0.5 * distances.mean(axis=1))


def nearest_neighbour_distance_ratio(
    *, train: npt.ArrayLike, synthetic: npt.ArrayLike, train_subjects: Labels | None = None
) -> FloatArray:
    """Return, per synthetic image, the distance to its nearest train image over that to the second nearest (NNDR).

    Args:
        train: (n, d) features, n >= 2.
        synthetic: (m, d) features, m >= 2.
        train_subjects: (n,) subject of each train image; then the second must come from another subject than the first,
            else an adjacent slice of the copied subject hides the copy.

    Returns:
        (m,) ratios from 0 (a verbatim copy) to 1 (no neighbour stands out). Where both distances are 0, 0.

    Raises:
        AuditError: tables that `feature_tables` refuses, subjects that do not fit them.

    Source: Lowe 2004, section 7.1; on synthetic records Zhao et al. 2021.
    """
    X, G = feature_tables(train=train, synthetic=synthetic)
    if train_subjects is None:
        distances = nearest(G, X, 2)[0]
        return _ratio(distances[:, 0], distances[:, 1])
    codes = subject_codes(X, train_subjects)
    first, indices = nearest(G, X)
    second = nearest(G, X, exclude_groups=(codes[indices[:, 0]], codes))[0]
    return _ratio(first[:, 0], second[:, 0])


def _ratio(distance: FloatArray, usual: FloatArray) -> FloatArray:
    """0 / 0 counts as 0: a copy of a train image that train itself holds several times is still a copy."""
    return np.divide(distance, usual, out=np.zeros_like(distance), where=usual > 0)
