"""Precision, recall, density and coverage: do synthetic images stay among real ones, and reach all of them?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthrelease.errors import AuditError
from synthrelease.metrics.balls import memberships
from synthrelease.metrics.checks import checked_tables
from synthrelease.metrics.neighbours import own_radii


@dataclass(frozen=True)
class Coverage:
    """Four shares from balls around each image that reach to its k-th neighbour."""

    precision: float
    """Share of synthetic images inside some real image's ball, 0 to 1."""
    recall: float
    """Share of real images inside some synthetic image's ball, 0 to 1."""
    density: float
    """Mean number of real balls that hold a synthetic image, over k; about 1 for fresh samples, may exceed 1."""
    coverage: float
    """Share of real images whose ball holds some synthetic image, 0 to 1."""
    k: int


def precision_recall_density_coverage(*, real: npt.ArrayLike, synthetic: npt.ArrayLike, k: int = 5) -> Coverage:
    """Return precision, recall, density and coverage.

    Args:
        real: (n, d) features, n > k.
        synthetic: (m, d) features, m > k.
        k: neighbour that sets a ball's radius, the image itself not counted.

    Returns:
        Four numbers; verbatim copies score as well as anything can, so none of them sees copying.

    Raises:
        AuditError: tables that `feature_tables` refuses, or no more images than k.

    Source: Kynkäänniemi et al. 2019; Naeem et al. 2020. Inside means strictly nearer than the radius. Memory stays
    within the tables and one block; no matrix of all pairs is made.
    """
    if k < 1:
        raise AuditError(f"k = {k} names no neighbour.", "Give k = 1 or more.")
    # Single precision stays as it is: pairs that are computed exactly are brought to float64 one by one.
    tables = checked_tables(minimum=k + 1, real=real, synthetic=synthetic)
    X, G = (np.asarray(table, dtype=np.promote_types(table.dtype, np.float32)) for table in tables)
    held = memberships(G, X, left_radii=own_radii(G, k), right_radii=own_radii(X, k))
    return Coverage(
        precision=float(np.mean(held.balls_around_left > 0)),
        recall=float(np.mean(held.balls_around_right > 0)),
        density=float(held.balls_around_left.mean() / k),
        coverage=float(np.mean(held.right_ball_holds)),
        k=k,
    )
