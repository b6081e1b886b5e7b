"""Kernel distance (KID): unbiased squared maximum mean discrepancy under a cubic kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, feature_tables


@dataclass(frozen=True)
class KernelDistance:
    """Mean over subsets, and how far subsets spread."""

    value: float
    deviation: float
    """Population standard deviation over subsets: the spread of one subset, not the error of the mean."""
    subsets: int
    subset_size: int


def kernel_distance(
    *,
    real: npt.ArrayLike,
    synthetic: npt.ArrayLike,
    random: np.random.Generator | None = None,
    subsets: int = 100,
    subset_size: int = 1000,
) -> KernelDistance:
    """Return the unbiased squared MMD under the kernel (x.y / d + 1)^3, averaged over random subsets.

    Args:
        real: (n, d) features, n >= 2.
        synthetic: (m, d) features, m >= 2.
        random: draws subsets without replacement; a fixed generator by default.
        subsets: how many.
        subset_size: images of each set in a subset; the smaller set's size where it has fewer.

    Returns:
        About 0 for two samples of one law (it may be negative); unlike the Frechet distance, not biased by counts.

    Raises:
        AuditError: tables that `feature_tables` refuses, no subsets, or subsets of fewer than two.

    Source: Binkowski et al. 2018.
    """
    X, G = feature_tables(real=real, synthetic=synthetic)
    size = min(subset_size, len(X), len(G))
    if subsets < 1 or size < 2:
        raise AuditError(f"{subsets} subsets of {subset_size} images give no distance.", "Ask for 1 of 2, or more.")
    if size == len(X) == len(G):
        subsets = 1  # every subset would be the whole
    random = seeds.named(0, "kernel_distance") if random is None else random
    values = [_unbiased_discrepancy(_draw(X, size, random), _draw(G, size, random)) for _ in range(subsets)]
    return KernelDistance(float(np.mean(values)), float(np.std(values)), subsets, size)


def _draw(table: FloatArray, size: int, random: np.random.Generator) -> FloatArray:
    return table if size == len(table) else table[random.choice(len(table), size, replace=False)]


def _unbiased_discrepancy(X: FloatArray, Y: FloatArray) -> float:
    """MMD^2 of two samples of one size, with the diagonals left out of the within-sample means."""
    n, width = X.shape
    within = 0.0
    for sample in (X, Y):
        kernel = _cubed(sample @ sample.T, width)
        within += float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))
    return within - 2 * float(_cubed(X @ Y.T, width).mean())


def _cubed(products: FloatArray, width: int) -> FloatArray:
    products /= width
    products += 1
    return np.asarray(products * products * products)
