"""Exact nearest neighbours, and the whitening that makes descriptors comparable.

Distances come back in float64 from the features themselves: float32 searches rank well, but on features far from the
origin their squared distance of an exact copy can be 12 instead of 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from synthrelease.errors import AuditError
from synthrelease.mapped import New
from synthrelease.privacy.searching import Search, fastest
from synthrelease.workers import HERE, Workers

BLOCK = 4096  # queries at once: memory is O(BLOCK x width), never queries x references
PART = 16_384  # references at once
SPARE = 4  # neighbours more than wanted, from which the exact distance chooses: float32 may swap the last ones
FAR = 0.25  # share of the features' mean square that their mean may make up; from there on they are centred
WIDTH = 128  # dimensions that whitening keeps
FITTED_ON = 10_000  # rows at most, evenly spread: more of them do not move 128 directions
RIDGE = 0.03  # of the largest deviation: directions of noise are not blown up to the size of anatomy

Features = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.float64)


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
    sample = train[:: -(-len(train) // FITTED_ON)]
    pca = PCA(width, random_state=0).fit(sample)
    deviation = np.sqrt(pca.explained_variance_)
    scale = np.sqrt(pca.explained_variance_ + (RIDGE * deviation[0]) ** 2)
    matrix = pca.components_.T / np.maximum(scale, 1e-12)
    return Whitening(pca.mean_.astype(np.float32), matrix.astype(np.float32))


def whitening_tables(whitening: Whitening | None, new: New) -> tuple[Features, Features]:
    """Return mean and matrix in tables of their own; empty ones where nothing could be whitened."""
    known = whitening or Whitening(np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
    mean, matrix = new("mean", known.mean.shape, np.float32), new("matrix", known.matrix.shape, np.float32)
    mean[:], matrix[:] = known.mean, known.matrix
    return mean, matrix


class Index:
    """Exact L2 search over reference features (n, d), which may be mapped from a file: no copy of them is held.

    Features that lie far from the origin are centred, a part at a time, because float32 would lose their differences.
    """

    def __init__(self, references: Features, mean: Features | None = None, search: Search | None = None) -> None:
        self.references = references
        self.mean = mean_of(references) if mean is None else mean  # of all references, where these are some of them
        length = 0.0
        for part in self._parts():
            squares = np.einsum("nd,nd->n", part, part, dtype=np.float64)
            if not np.isfinite(squares).all():
                raise AuditError("Reference features hold NaN or infinity.", "Check the images named in the log.")
            length += float(squares.sum())
        self._search = search or fastest()
        self._is_far = len(references) * float(np.square(self.mean, dtype=np.float64).sum()) > FAR * length

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

    def _parts(self) -> Iterator[Features]:
        for start in range(0, len(self.references), PART):
            yield self.references[start : start + PART]

    def _block(self, queries: Features, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        wanted = min(k + SPARE, len(self.references))
        looked_for = np.ascontiguousarray(queries - self.mean if self._is_far else queries)
        best: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        for number, part in enumerate(self._parts()):
            there = np.ascontiguousarray(part - self.mean if self._is_far else part)
            far, rows = self._search.nearest(number, there, looked_for, min(wanted, len(there)))
            best = [_merged([*best, (rows + number * PART, far)], wanted)]
        rows = best[0][0]
        exact = np.empty(rows.shape)
        for column in range(rows.shape[1]):
            difference = queries - self.references[rows[:, column]]
            exact[:, column] = np.sqrt(np.einsum("nd,nd->n", difference, difference, dtype=np.float64))
        return _merged([(rows, exact)], k)


def mean_of(references: Features) -> Features:
    """Return the mean (d,) of features (n, d), summed in float64."""
    return np.asarray(references.mean(axis=0, dtype=np.float64), dtype=np.float32)


@dataclass(frozen=True)
class Shard:
    """Some of the references, with their place among all of them; indexed where it is first searched."""

    first: int
    references: Features
    mean: Features
    _built: list[Index] = field(default_factory=list)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel without the index, which is quicker to build than to send."""
        return Shard, (self.first, np.asarray(self.references), self.mean)

    def nearest(self, queries: Queries) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the k nearest of these references, numbered among all."""
        if not self._built:
            self._built.append(Index(self.references, self.mean))
        rows, distances = self._built[0].nearest(queries.features, queries.k, queries.mirrored)
        return rows + self.first, distances


@dataclass(frozen=True)
class Queries:
    """What is looked for: features (m, d), those of the mirror images where they differ, and how many neighbours."""

    features: Features
    k: int
    mirrored: Features | None = None

    def blocks(self) -> Iterator[Queries]:
        """Yield these queries a block at a time."""
        for start in range(0, len(self.features), BLOCK):
            part = slice(start, start + BLOCK)
            yield Queries(self.features[part], self.k, None if self.mirrored is None else self.mirrored[part])


def shards_of(references: Features, rows: int) -> list[Shard]:
    """Return references (n, d) in shards of at most ``rows``, all centred by the mean of all."""
    mean = mean_of(references)
    return [Shard(first, references[first : first + rows], mean) for first in range(0, len(references), rows)]


def nearest_across(
    shards: Sequence[Shard], queries: Queries, workers: Workers = HERE
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the k nearest references of each query over all shards, as `Index.nearest` over all references does.

    On a cluster each worker holds some of the shards. In this process one shard is indexed at a time, so that memory is
    O(shard) and not O(references).
    """
    if workers.count == 1:
        best: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None
        for shard in shards:
            found = Shard(shard.first, shard.references, shard.mean).nearest(queries)  # its index goes with it
            best = found if best is None else _merged([best, found], queries.k)
        assert best is not None  # there is a shard
        return best
    blocks = [_merged(found, queries.k) for found in workers.across(Shard.nearest, shards, queries.blocks())]
    return np.concatenate([rows for rows, _ in blocks]), np.concatenate([far for _, far in blocks])


def _merged(
    found: Sequence[tuple[NDArray[np.int64], NDArray[Number]]], k: int
) -> tuple[NDArray[np.int64], NDArray[Number]]:
    """Return the k nearest of several lists of different references; of equals the one that comes first."""
    rows = np.concatenate([rows for rows, _ in found], axis=1)
    distances = np.concatenate([far for _, far in found], axis=1)
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)


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
