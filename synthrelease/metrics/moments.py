"""Mean and scatter of features, in one pass over blocks: memory depends on the features' width, not on the images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas

from synthrelease.metrics.checks import FloatArray, checked_tables

ROWS = 1024  # at a time: 16 MiB in float64 at 2,048 features
_TILE = 256  # mirrored together: stays in the processor's cache


@dataclass(frozen=True)
class Moments:
    """What a Gaussian needs to know of a set of images; sets are put together by `+`."""

    count: int
    mean: FloatArray
    """(d,) mean feature."""
    scatter: FloatArray
    """(d, d) sum of (x - mean)(x - mean)^T."""

    @property
    def covariance(self) -> FloatArray:
        """(d, d), with n - 1."""
        return self.scatter / (self.count - 1)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets together (Chan, Golub and LeVeque 1983, pairwise update)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        between = np.outer(apart, apart * (self.count * other.count / count))
        mean = self.mean + apart * (other.count / count)
        between += self.scatter
        between += other.scatter
        return Moments(count, mean, between)


@dataclass(frozen=True)
class Rows:
    """Some rows of a feature table, read when they are needed; a copy of them only where an array is asked for."""

    table: npt.NDArray[Any]
    rows: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width."""
        return len(self.rows), int(self.table.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> npt.NDArray[Any]:
        return np.asarray(self.table[self.rows[part]])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self.table[self.rows], dtype=dtype)


def moments(features: npt.ArrayLike) -> Moments:
    """Return the moments of a feature table (n, d), n >= 1, read a block at a time and summed in float64.

    Raises:
        AuditError: not a table of finite numbers.
    """
    (table,) = checked_tables(minimum=1, varied=False, features=features)
    return of_checked(table)


def of_checked(table: npt.NDArray[np.generic] | Rows) -> Moments:
    """Return the moments of a table that `checked_tables` has passed.

    Each block is centred on its own mean and joined as `+` joins, but into one triangle of one matrix: a symmetric
    product takes half the time of a full one.
    """
    width = table.shape[1]
    count, mean, lower = 0, np.zeros(width), np.zeros((width, width), order="F")
    room = np.empty((min(ROWS, len(table)), width))
    for start in range(0, len(table), ROWS):
        rows = table[start : start + ROWS]
        block = room[: len(rows)]
        block[:] = rows
        middle = block.mean(axis=0)
        block -= middle
        lower = blas.dsyrk(1.0, block.T, beta=1.0, c=lower, lower=1, overwrite_c=1)
        apart, both = middle - mean, count + len(block)
        lower = blas.dsyr(count * len(block) / both, apart, a=lower, lower=1, overwrite_a=1)
        mean += apart * (len(block) / both)
        count = both
    return Moments(count, mean, _mirrored(lower))


def _mirrored(lower: FloatArray) -> FloatArray:
    """Return the symmetric matrix whose lower triangle is given, which is overwritten; above it there are zeros."""
    for start in range(0, len(lower), _TILE):
        tile, below = slice(start, start + _TILE), slice(start + _TILE, None)
        lower[tile, below] = lower[below, tile].T
        lower[tile, tile] += np.tril(lower[tile, tile], -1).T
    return lower.T  # rows lie together, as everywhere else


def together(parts: Iterable[Moments]) -> Moments:
    """Return the moments of all parts as one set."""
    return reduce(Moments.__add__, parts)
