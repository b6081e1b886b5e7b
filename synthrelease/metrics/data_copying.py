"""Three-sample test for data copying: do synthetic images lie nearer to train than holdout images do?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import linalg
from sklearn.cluster import KMeans

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, feature_tables
from synthrelease.metrics.neighbours import nearest

_COMPONENTS = 64
_CELLS = 3
_LEAST_IN_CELL = 20


def data_copying_score(
    *,
    train: npt.ArrayLike,
    holdout: npt.ArrayLike,
    synthetic: npt.ArrayLike,
    random: np.random.Generator | None = None,
) -> float:
    """Return C_T, how many standard deviations nearer to train synthetic images lie than holdout images do.

    PCA to 64 dimensions and three k-means cells, both fitted on train; in each cell with more than 20 synthetic images,
    the standardised Mann-Whitney U of distances to the cell's train images; weighted by the cells' share of holdout.

    Args:
        train: (n, d) features, n >= 3.
        holdout: (h, d) features of other subjects, as many as can be had.
        synthetic: (m, d) features; with m <= 60 no cell may reach the 21 that it needs.
        random: seeds the k-means starts; a fixed one by default.

    Returns:
        Standard deviations: about 0 for fresh samples, far below 0 (-3 and lower) for copying, above 0 for images that
        keep too far from train. Images of one subject are not independent, so -3 is reached by chance more often than
        a normal law says.

    Raises:
        AuditError: tables that `feature_tables` refuses, or no cell with both enough synthetic and any holdout images.

    Source: Meehan, Chaudhuri and Dasgupta 2020, the statistic C_T.
    """
    X, T, G = feature_tables(minimum=_CELLS, train=train, holdout=holdout, synthetic=synthetic)
    random = seeds.named(0, "data_copying_score") if random is None else random
    X, T, G = _principal(X, T, G)
    cells = KMeans(_CELLS, n_init=10, random_state=int(random.integers(2**31 - 1))).fit(X)
    of_train, of_holdout, of_synthetic = (cells.predict(part) for part in (X, T, G))
    scores, weights = [], []
    for cell in range(_CELLS):
        here = X[of_train == cell]
        held, made = T[of_holdout == cell], G[of_synthetic == cell]
        if len(made) > _LEAST_IN_CELL and len(held) and len(here):
            scores.append(_standardised_rank_sum(nearest(made, here)[0][:, 0], nearest(held, here)[0][:, 0]))
            weights.append(len(held))
    if not scores:
        raise AuditError(
            f"No cell holds a holdout image and more than {_LEAST_IN_CELL} synthetic images.",
            f"C_T needs more images than {len(T)} and {len(G)}.",
        )
    return float(np.average(scores, weights=weights))


def _principal(train: FloatArray, *others: FloatArray) -> tuple[FloatArray, ...]:
    """Project all tables on train's first 64 principal directions; up to 64 features stay as they are."""
    if train.shape[1] <= _COMPONENTS:
        return (train, *others)
    mean = train.mean(axis=0)
    centred = train - mean
    if len(train) > train.shape[1]:
        width = train.shape[1]
        variances, axes = linalg.eigh(centred.T @ centred, subset_by_index=(width - _COMPONENTS, width - 1))
    else:
        _, roots, rows = linalg.svd(centred, full_matrices=False)
        variances, axes = roots[:_COMPONENTS] ** 2, rows[:_COMPONENTS].T
    # Directions without variance are rounding: they would differ between machines.
    axes = axes[:, variances > 1e-12 * variances.max()]
    return tuple((part - mean) @ axes for part in (train, *others))


def _standardised_rank_sum(synthetic: FloatArray, holdout: FloatArray) -> float:
    """Mann-Whitney U of two lists of distances, in standard deviations; below 0 where synthetic ones are shorter."""
    m, n = len(synthetic), len(holdout)
    ordered = np.sort(holdout)
    below, up_to = np.searchsorted(ordered, synthetic, "left"), np.searchsorted(ordered, synthetic, "right")
    U = float((below + up_to).sum()) / 2
    return float((U - (n * m / 2 - 0.5)) / np.sqrt(n * m * (n + m + 1) / 12))
