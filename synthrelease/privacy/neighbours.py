"""Exact nearest neighbours with FAISS, and the whitening that makes descriptors comparable.

Distances come back in float64 from the features themselves: float32 searches rank well, but on features far from the
origin their squared distance of an exact copy can be 12 instead of 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from synthrelease.errors import AuditError

BLOCK = 4096  # queries at once: memory is O(BLOCK x width), never queries x references
WIDTH = 128  # dimensions that whitening keeps
RIDGE = 0.03  # of the largest deviation: directions of noise are not blown up to the size of anatomy

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Whitening:
    """A linear map fitted on train, after which all directions count alike; then unit length."""

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]  # (d, k)

    def __call__(self, features: Features) -> Features:
        """Return (n, k) unit vectors of features (n, d)."""
        out = np.empty((len(features), self.matrix.shape[1]), np.float32)
        for start in range(0, len(features), BLOCK):
            block = (features[start : start + BLOCK] - self.mean) @ self.matrix
            length = np.linalg.norm(block, axis=1, keepdims=True)
            out[start : start + BLOCK] = block / np.maximum(length, 1e-12)
        return out


def fit_whitening(train: Features, width: int = WIDTH) -> Whitening:
    """Return the whitening of train features (n, d): PCA to at most ``width`` dimensions, regularised."""
    width = min(width, train.shape[1], max(len(train) - 1, 1))
    # Beyond some tens of thousands of rows more of them do not move 128 directions.
    sample = train[:: max(1, len(train) // 20_000)]
    pca = PCA(width, random_state=0).fit(sample)
    deviation = np.sqrt(pca.explained_variance_)
    scale = np.sqrt(pca.explained_variance_ + (RIDGE * deviation[0]) ** 2)
    matrix = pca.components_.T / np.maximum(scale, 1e-12)
    return Whitening(pca.mean_.astype(np.float32), matrix.astype(np.float32))


class Index:
    """Exact L2 search over reference features (n, d)."""

    def __init__(self, references: Features) -> None:
        if not np.isfinite(references).all():
            raise AuditError("Reference features hold NaN or infinity.", "Check the images named in the log.")
        self.references = references
        self.mean = references.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._flat = faiss.IndexFlatL2(references.shape[1])
        for start in range(0, len(references), BLOCK):
            self._flat.add(np.ascontiguousarray(references[start : start + BLOCK] - self.mean))

    def nearest(
        self, queries: Features, k: int, mirrored: Features | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the k nearest references of each query: rows (m, k) and distances (m, k), nearest first.

        Args:
            queries: (m, d).
            k: At most; fewer references give fewer columns.
            mirrored: (m, d) features of the mirrored queries; a reference keeps the nearer orientation.
        """
        k = min(k, len(self.references))
        rows = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k))
        for start in range(0, len(queries), BLOCK):
            stop = start + BLOCK
            found, far = self._block(queries[start:stop], k)
            if mirrored is not None:
                found, far = _nearer(found, far, *self._block(mirrored[start:stop], k), k)
            rows[start:stop], distances[start:stop] = found, far
        return rows, distances

    def _block(self, queries: Features, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        _, rows = self._flat.search(np.ascontiguousarray(queries - self.mean), k)
        exact = np.empty(rows.shape)
        for column in range(k):
            difference = queries - self.references[rows[:, column]]
            exact[:, column] = np.sqrt(np.einsum("nd,nd->n", difference, difference, dtype=np.float64))
        order = np.argsort(exact, axis=1, kind="stable")
        return np.take_along_axis(rows, order, 1), np.take_along_axis(exact, order, 1)


def _nearer(
    rows: NDArray[np.int64],
    distances: NDArray[np.float64],
    other_rows: NDArray[np.int64],
    other_distances: NDArray[np.float64],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Merge two top-k lists; a reference found in both keeps its smaller distance."""
    all_rows = np.concatenate([rows, other_rows], axis=1)
    all_distances = np.concatenate([distances, other_distances], axis=1)
    order = np.argsort(all_distances, axis=1, kind="stable")
    all_rows, all_distances = np.take_along_axis(all_rows, order, 1), np.take_along_axis(all_distances, order, 1)
    earlier = (all_rows[:, :, None] == all_rows[:, None, :]) & np.tri(2 * k, k=-1, dtype=bool)
    all_distances = np.where(earlier.any(axis=2), np.inf, all_distances)
    order = np.argsort(all_distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(all_rows, order, 1), np.take_along_axis(all_distances, order, 1)


def union(candidates: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return (m, sum of k) candidate rows of several searches; repeats become -1."""
    rows = np.concatenate(candidates, axis=1)
    repeated = ((rows[:, :, None] == rows[:, None, :]) & np.tri(rows.shape[1], k=-1, dtype=bool)).any(axis=2)
    return np.where(repeated, -1, rows)
