"""Nearest real images: the share that are train images, and whole-image correlation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synthrelease import seeds
from synthrelease.errors import AuditError
from synthrelease.metrics.checks import FloatArray, feature_tables
from synthrelease.metrics.neighbours import BLOCK_BYTES, nearest


def dcr_share(
    *,
    train: npt.ArrayLike,
    holdout: npt.ArrayLike,
    synthetic: npt.ArrayLike,
    random: np.random.Generator | None = None,
) -> float:
    """Return the share of synthetic images that lie nearer to train than to holdout, ties counting half.

    Args:
        train: (n, d) features; the larger of train and holdout is subsampled without replacement to the smaller's size,
            because more images come nearer by number alone.
        holdout: (h, d) features of other subjects.
        synthetic: (m, d) features.
        random: draws the subsample; a fixed one by default.

    Returns:
        0 to 1; 0.5 for a generator that favours neither, above it where it leans towards train.

    Raises:
        AuditError: tables that `feature_tables` refuses.

    Source: Platzer and Reutterer 2021 (distance to closest record against a holdout).
    """
    X, T, G = feature_tables(train=train, holdout=holdout, synthetic=synthetic)
    random = seeds.named(0, "dcr_share") if random is None else random
    size = min(len(X), len(T))
    X, T = (part if len(part) == size else part[random.permutation(len(part))[:size]] for part in (X, T))
    to_train, to_holdout = nearest(G, X)[0][:, 0], nearest(G, T)[0][:, 0]
    return float(np.mean(to_train < to_holdout) + 0.5 * np.mean(to_train == to_holdout))


def whole_image_correlation(*, train: npt.ArrayLike, synthetic: npt.ArrayLike) -> FloatArray:
    """Return, per synthetic image, the highest Pearson r with any train image, over all pixels and channels.

    For comparison with the literature only: between unrelated patients it is already 0.83 to 0.88 on head MRI, because
    heads fill the same place.

    Args:
        train: (n, ...) images of any shape and number type.
        synthetic: (m, ...) images of the same shape.

    Returns:
        (m,) correlations, -1 to 1; memory does not grow with n or m beyond the result.

    Raises:
        AuditError: shapes that differ, no images, NaN or infinity, an image of one value: it correlates with nothing.
    """
    X, G = np.asarray(train), np.asarray(synthetic)
    if X.shape[1:] != G.shape[1:] or X.ndim < 2 or not X.size or not G.size:
        raise AuditError(
            f"train has shape {X.shape}, synthetic {G.shape}; expected (images, pixels ...).",
            "Bring both to one size and one list of channels.",
        )
    X, G = X.reshape(len(X), -1), G.reshape(len(G), -1)
    step = max(1, BLOCK_BYTES // (16 * X.shape[1]))
    best = np.full(len(G), -1.0)
    for start in range(0, len(G), step):
        left = _standardised("synthetic", G[start : start + step])
        for other in range(0, len(X), step):
            r = left @ _standardised("train", X[other : other + step]).T
            np.maximum(best[start : start + step], r.max(axis=1), out=best[start : start + step])
    return np.asarray(np.clip(best, -1.0, 1.0))


def _standardised(name: str, images: npt.NDArray[np.generic]) -> FloatArray:
    """Rows of mean 0 and length 1, so that a product of two is their Pearson r."""
    rows = images.astype(np.float64)
    if bad := int(np.count_nonzero(~np.isfinite(rows).all(axis=1))):
        raise AuditError(f"{name} has {bad} images with NaN or infinite pixels.", "Leave them out.")
    if flat := int(np.count_nonzero((rows == rows[:, :1]).all(axis=1))):
        raise AuditError(f"{name} has {flat} images of one value: they correlate with nothing.", "Leave them out.")
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
