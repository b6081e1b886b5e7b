"""Vendi score: how many different images a set amounts to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synthrelease.metrics.checks import feature_tables, unit_rows


def vendi_score(features: npt.ArrayLike) -> float:
    """Return the effective number of different images: exp of the entropy of the eigenvalues of the cosine kernel / n.

    Args:
        features: (n, d) features, n >= 2, no row all zero.

    Returns:
        1 (all point one way) to min(n, d). It looks at one set alone, so it cannot see whether the variety is copied.

    Raises:
        AuditError: a table that `feature_tables` refuses, or images whose features are all zero.

    Source: Friedman and Dieng 2023, computed in min(n, d) dimensions.
    """
    (table,) = feature_tables(features=features)
    rows = unit_rows("features", table)
    # X X^T and X^T X share their eigenvalues above 0.
    kernel = rows.T @ rows if rows.shape[1] < len(rows) else rows @ rows.T
    shares = np.linalg.eigvalsh(kernel) / len(rows)
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))))
